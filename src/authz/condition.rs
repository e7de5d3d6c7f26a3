//! Conditions of rules, in the Common Expression Language (CEL).
//!
//! What a condition may cost is bounded before it is ever evaluated, but for loops over what tokens and requests hold:
//! those are bounded by the number of steps. What cannot be evaluated is not met: a claim that is not there, a number
//! where a text should be, too many steps.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::Arc;
use std::thread;

use cel::{Context, Env, Program, Value};

use super::{Request, Single};
use crate::clock::Timestamp;
use crate::jose::{Json, Members};
use crate::uri::normal_host;

mod survey;

use survey::Survey;

/// The longest condition, in bytes.
pub const CONDITION_LIMIT: usize = 1_024;

/// The most operators, names and literals in a condition.
const NODE_LIMIT: usize = 200;

/// The deepest nesting. An evaluation takes stack for each level.
const DEPTH_LIMIT: usize = 24;

/// The most steps that all loops of one evaluation may take.
const STEP_LIMIT: usize = 20_000;

/// The longest text that sums may lead to, in bytes.
const TEXT_LIMIT: usize = 1024 * 1024;

/// What the parser may take of stack, whatever it is given: it is asked in a thread of its own.
const PARSER_STACK: usize = 64 * 1024 * 1024;

/// What a condition may be about.
const VARIABLES: [&str; 3] = ["claims", "now", "request"];

/// Names of types, which may be compared with `type(...)`.
const TYPES: [&str; 9] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"];

/// Functions beside the operators and the macros `has`, `all`, `exists`, `exists_one`, `map` and `filter`.
const FUNCTIONS: [&str; 11] =
    ["bool", "contains", "double", "dyn", "endsWith", "int", "size", "startsWith", "string", "type", "uint"];

/// Why a text is no condition.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConditionFault {
    /// Longer than [`CONDITION_LIMIT`].
    #[error("must be at most 1024 bytes")]
    TooLong,
    /// Too much of it.
    #[error("is too large: at most 200 operators, names and literals, 24 deep")]
    TooLarge,
    /// Not in the language.
    #[error("is no CEL expression: line {line}, column {column}: {message}")]
    Syntax {
        /// Within the expression.
        line: isize,
        /// Within the line.
        column: isize,
        /// What the parser says.
        message: String,
    },
    /// A variable that there is not.
    #[error("names `{0}`; there are `claims`, `request` and `now`")]
    UnknownName(String),
    /// A function that there is not.
    #[error("calls `{0}`, which there is not")]
    UnknownFunction(String),
    /// Headers are read that it does not name.
    #[error("must name each header that it reads: `request.headers['x-tenant']`, or `'x-tenant' in request.headers`")]
    HeaderUnnamed,
    /// No header has this name, as names are compared here.
    #[error("reads the header `{0}`, which must be named in lower case: letters, digits, dashes and underscores")]
    HeaderMalformed(String),
    /// A header with credentials, or what somebody claims to have been asked for.
    #[error(
        "reads the header `{0}`: conditions see no credentials, and nothing that says where else a request has been (`forwarded`, `x-forwarded-*`, `x-original-*`, `x-envoy-*`, overrides of method and path)"
    )]
    HeaderUnseen(String),
    /// A loop over what a loop has made.
    #[error("has a macro over what `map` has made")]
    ChainedMaps,
    /// A loop within a loop.
    #[error("has a macro (`all`, `exists`, `exists_one`, `map`, `filter`) within a macro")]
    NestedLoops,
}

/// What a condition is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    /// What the token says.
    pub(super) claims: &'a Members,
    /// What is asked for.
    pub(super) request: &'a Request<'a>,
    /// Its path in normal form.
    pub(super) path: &'a str,
    /// The time.
    pub(super) now: Timestamp,
}

/// A condition that was understood. Two are equal if they were written alike.
#[derive(Clone)]
pub struct Condition {
    text: Arc<str>,
    program: Arc<Program>,
    language: Arc<Env>,
    /// Which of [`VARIABLES`] it names.
    names: [bool; VARIABLES.len()],
    survey: Arc<Survey>,
}

/// How much there is to go through.
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    /// The length of the longest list or map.
    items: usize,
    /// The length of the longest text, in bytes.
    text: usize,
}

impl Extent {
    /// Whether an evaluation may take so much.
    fn is_too_much(self, survey: &Survey) -> bool {
        let squares = survey.sums_in_loops.saturating_mul(self.items).saturating_mul(self.items);
        let steps = survey.in_loops.saturating_mul(self.items).saturating_add(squares);
        // A loop may go over sums, and add them up.
        let longer = survey.sums.saturating_add(1);
        let text = self.text.saturating_mul(longer).saturating_mul(longer);
        steps.saturating_mul(longer) > STEP_LIMIT || (survey.sums > 0 && text > TEXT_LIMIT)
    }
}

/// The condition could not be evaluated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Inconclusive;

impl Condition {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The headers that it reads, in lower case and in order.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        self.survey.headers.iter().map(String::as_str)
    }

    /// Whether the facts meet the condition.
    pub(super) fn holds(&self, facts: &Facts<'_>) -> Result<bool, Inconclusive> {
        let mut context = Context::with_env(Arc::clone(&self.language));
        let mut extent = Extent { items: self.survey.longest, text: self.text.len() };
        for (name, _) in VARIABLES.into_iter().zip(self.names).filter(|(_, named)| *named) {
            let value = match name {
                "claims" => object(facts.claims, &mut extent),
                "request" => request(facts, &self.survey.headers, &mut extent)?,
                _ => Value::Int(facts.now.seconds()),
            };
            context.add_variable_from_value(name, value);
        }
        if extent.is_too_much(&self.survey) {
            return Err(Inconclusive);
        }
        // A fault of the interpreter must not end the call without an answer: the proxy might take that for an allow.
        let evaluated = catch_unwind(AssertUnwindSafe(|| self.program.execute(&context)));
        match evaluated {
            Ok(Ok(Value::Bool(holds))) => Ok(holds),
            Ok(Ok(_) | Err(_)) | Err(_) => Err(Inconclusive),
        }
    }
}

impl FromStr for Condition {
    type Err = ConditionFault;

    fn from_str(text: &str) -> Result<Self, ConditionFault> {
        if text.len() > CONDITION_LIMIT {
            return Err(ConditionFault::TooLong);
        }
        if nesting(text) > DEPTH_LIMIT {
            return Err(ConditionFault::TooLarge);
        }
        let language = Arc::new(Env::stdlib());
        let program = parse(&language, text)?;
        let survey = Arc::new(Survey::of(program.expression())?);
        let named = program.references();
        let names = VARIABLES.map(|name| named.has_variable(name));
        drop(named);
        Ok(Self { text: text.into(), program: Arc::new(program), language, names, survey })
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Condition {}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({})", self.text)
    }
}

/// How deep brackets are nested, be it in a literal.
fn nesting(text: &str) -> usize {
    let depths = text.bytes().scan(0_usize, |depth, byte| {
        match byte {
            b'(' | b'[' | b'{' => *depth += 1,
            b')' | b']' | b'}' => *depth = depth.saturating_sub(1),
            _ => {}
        }
        Some(*depth)
    });
    depths.max().unwrap_or_default()
}

/// Parses a text that is neither long nor nested deeply, where there is stack enough for it.
fn parse(language: &Env, text: &str) -> Result<Program, ConditionFault> {
    let gave_up = || ConditionFault::Syntax { line: 1, column: 1, message: "the parser gave up".to_owned() };
    let parsed = thread::scope(|scope| {
        let parser = thread::Builder::new().stack_size(PARSER_STACK);
        parser.spawn_scoped(scope, || language.compile(text)).ok()?.join().ok()
    });
    parsed.ok_or_else(gave_up)?.map_err(|faults| {
        faults.errors.into_iter().next().map_or_else(gave_up, |fault| {
            let (line, column) = fault.pos;
            if fault.msg.contains("Recursion limit") {
                return ConditionFault::TooLarge; // it counts levels that `nesting` does not
            }
            ConditionFault::Syntax { line, column, message: fault.msg }
        })
    })
}

/// What conditions see of a request. Of a header there is one value or none (see [`single`](super::Headers::single)): two
/// readers of several could each take another one, and of octets that are no text each could make another text.
fn request(facts: &Facts<'_>, headers: &BTreeSet<String>, extent: &mut Extent) -> Result<Value, Inconclusive> {
    let query = facts.request.target.split_once('?').map_or("", |(_, query)| query);
    let host = normal_host(facts.request.host).ok_or(Inconclusive)?;
    let mut seen: HashMap<String, Value> = HashMap::with_capacity(headers.len());
    for name in headers {
        match facts.request.headers.single(name) {
            Single::Absent => {}
            Single::One(value) => {
                let value = std::str::from_utf8(value).map_err(|_| Inconclusive)?;
                extent.text = extent.text.max(value.len());
                seen.insert(name.clone(), value.into());
            }
            Single::Several => return Err(Inconclusive),
        }
    }
    extent.text = extent.text.max(facts.request.target.len());
    let members: [(&str, Value); 5] = [
        ("method", facts.request.method.into()),
        ("host", (&*host).into()),
        ("path", facts.path.into()),
        ("query", query.into()),
        ("headers", seen.into()),
    ];
    Ok(members.into_iter().collect::<HashMap<_, _>>().into())
}

fn object(members: &Members, extent: &mut Extent) -> Value {
    extent.items = extent.items.max(members.len());
    let members = members.iter().map(|(name, value)| {
        extent.text = extent.text.max(name.len());
        (name.clone(), json(value, extent))
    });
    members.collect::<HashMap<_, _>>().into()
}

/// JSON has one kind of number: a whole one is an `int` if it fits.
fn json(value: &Json, extent: &mut Extent) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => Value::Int(number),
            (None, Some(number), _) => Value::UInt(number),
            (None, None, number) => number.map_or(Value::Null, Value::Float),
        },
        Json::String(text) => {
            extent.text = extent.text.max(text.len());
            text.as_str().into()
        }
        Json::Array(items) => {
            extent.items = extent.items.max(items.len());
            items.iter().map(|item| json(item, extent)).collect::<Vec<_>>().into()
        }
        Json::Object(members) => object(members, extent),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(text: &str, claims: &Json) -> Result<bool, Inconclusive> {
        let condition: Condition = text.parse().unwrap_or_else(|fault| panic!("{text}: {fault}"));
        let headers: [(&str, &[u8]); 6] = [
            ("x-tenant", b"acme"),
            ("X-Twice", b"a"),
            ("x-twice", b"b"),
            ("x-joined", b"a,b"),
            ("x-octets", b"a\xff"),
            ("authorization", b"DPoP secret"),
        ];
        let request = Request {
            resource: None,
            method: "POST",
            host: "API.example.com.:443",
            target: "/orders/7?dry=1",
            headers: headers.into_iter().collect(),
            certificate: None,
        };
        let claims = claims.as_object().expect("an object");
        let now = Timestamp::from_seconds(1_000);
        condition.holds(&Facts { claims, request: &request, path: "/orders/7", now })
    }

    #[test]
    fn conditions_are_about_claims_the_request_and_the_time() {
        let claims = json!({
            "department": "ops", "level": 3, "share": 0.5, "roles": ["guest", "owner"], "address": { "country": "AT" },
            "auth_time": 900, "gone": null,
        });
        for (text, expected) in [
            ("claims.department == 'ops'", Ok(true)),
            ("claims.department == 'hr'", Ok(false)),
            ("claims.level >= 3 && claims.share < 1.0", Ok(true)),
            ("'owner' in claims.roles", Ok(true)),
            ("claims.roles.exists(role, role.startsWith('own'))", Ok(true)),
            ("claims.roles.all(role, role == 'owner')", Ok(false)),
            ("claims.address.country in ['AT', 'DE']", Ok(true)),
            ("has(claims.team) && claims.team == 'a'", Ok(false)),
            ("claims['gone'] == null", Ok(true)),
            ("now - claims.auth_time < 300", Ok(true)),
            ("request.method == 'POST' && request.path == '/orders/7' && request.query == 'dry=1'", Ok(true)),
            ("request.host == 'api.example.com' && request.headers['x-tenant'] == 'acme'", Ok(true)),
            ("'x-tenant' in request.headers && !('x-other' in request.headers)", Ok(true)),
            ("has(request.headers.accept) || request.headers['x-tenant'] != 'other'", Ok(true)),
            ("type(claims.level) == int && size(claims.roles) == 2", Ok(true)),
            // What cannot be told is not met, whichever way it is asked.
            ("claims.team == 'a'", Err(Inconclusive)),
            ("!(claims.team == 'a')", Err(Inconclusive)),
            ("claims.team != 'a'", Err(Inconclusive)),
            ("claims.level", Err(Inconclusive)),
            ("claims.level < '3'", Err(Inconclusive)),
            ("1 / (claims.level - 3) == 1", Err(Inconclusive)),
            ("claims.level + 9223372036854775807 > 0", Err(Inconclusive)),
            // Neither is anything about a header that came several times, or is no text.
            ("request.headers['x-twice'] != 'b'", Err(Inconclusive)),
            ("!('x-twice' in request.headers)", Err(Inconclusive)),
            ("claims.level == 3 || has(request.headers.accept) || 'x-twice' in request.headers", Err(Inconclusive)),
            ("request.headers['x-joined'] != 'b'", Err(Inconclusive)),
            ("request.headers['x-octets'] != 'a'", Err(Inconclusive)),
            ("request.headers['x-other'] != 'a'", Err(Inconclusive)),
        ] {
            assert_eq!(judged(text, &claims), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_its_reason() {
        for (text, fault) in [
            ("claims.a ==", "line 1, column"),
            ("", "no CEL expression"),
            ("token.a == 1", "names `token`"),
            ("claims.a.exists(a, a == b)", "names `b`"),
            ("claims.a.matches('(a+)+$')", "calls `matches`"),
            ("claims.a.all(x, claims.b.all(y, x == y))", "within a macro"),
            ("claims.a.map(x, x + x).map(x, x + x) == []", "over what `map` has made"),
            ("size(claims.a.map(x, x > 1, [x, x]).filter(x, true).map(x, x)) > 1", "over what `map` has made"),
            ("request.body == ''", "names `request.body`"),
            ("request.headers[claims.name] == 'a'", "must name each header"),
            ("request.headers.exists(name, name == 'a')", "must name each header"),
            ("[request].exists(all, all.headers['x-a'] == 'a')", "must name each header"),
            ("size(request.headers) > 1", "must name each header"),
            ("has(request.headers)", "must name each header"),
            ("request['headers']['x-a'] == 'a'", "must name each header"),
            ("request.headers['X-Tenant'] == 'a'", "in lower case"),
            ("'authorization' in request.headers", "conditions see no credentials"),
            ("request.headers.dpop == ''", "conditions see no credentials"),
            ("has(request.headers.cookie)", "conditions see no credentials"),
            ("request.headers['x-forwarded-host'] == 'a'", "reads the header `x-forwarded-host`"),
            ("request.headers['x_forwarded_for'] == 'a'", "reads the header `x_forwarded_for`"),
            ("request.headers['x-original-url'] == 'a'", "reads the header `x-original-url`"),
            ("request.headers['x-envoy-external-address'] == 'a'", "reads the header `x-envoy-external-address`"),
            ("request.headers['x-http-method-override'] == 'a'", "reads the header `x-http-method-override`"),
            ("request.headers['forwarded'] == 'a'", "reads the header `forwarded`"),
            ("request.headers['host'] == 'a'", "reads the header `host`"),
            (&format!("claims.a == '{}'", "x".repeat(CONDITION_LIMIT)), "at most 1024 bytes"),
            (&"(".repeat(500), "too large"),
            (&format!("{}1 == 1", "1+".repeat(500)), "too large"),
            (&format!("claims{} == 1", ".a".repeat(500)), "too large"),
            (&format!("{}true", "true?true:".repeat(100)), "too large"),
            (&format!("[{}] == []", "1,".repeat(300)), "too large"),
        ] {
            let found = text.parse::<Condition>().expect_err(text).to_string();
            assert!(found.contains(fault), "{text}: {found}");
        }
        for hostile in [&*"!".repeat(1_024), &*"-".repeat(1_024), &*"'".repeat(1_024), "\u{0}", "a b c", "é", "claims."]
        {
            assert!(hostile.parse::<Condition>().is_err(), "{hostile}");
        }
    }

    #[test]
    fn a_loop_over_too_much_is_given_up_before_it_begins() {
        let claims = |length: usize| json!({ "roles": vec!["guest"; length] });
        let text = "claims.roles.exists(role, role == 'owner' || role == 'admin' || role.startsWith('x'))";
        assert_eq!(judged(text, &claims(500)), Ok(false));
        assert_eq!(judged(text, &claims(5_000)), Err(Inconclusive));
        assert_eq!(judged("size(claims.roles) > 1", &claims(5_000)), Ok(true));
    }

    #[test]
    fn what_sums_may_lead_to_is_bounded() {
        let long = "x".repeat(16 * 1024);
        let many = vec![long.as_str(); 4];
        let doubled = "claims.many.map(x, x + x + x + x + x + x + x + x + x)[0] != claims.long";
        assert_eq!(judged(doubled, &json!({ "many": ["a"], "long": "a" })), Ok(true));
        assert_eq!(judged(doubled, &json!({ "many": many, "long": long })), Err(Inconclusive));
        assert_eq!(judged("claims.long + 'y' != claims.long", &json!({ "long": long })), Ok(true));
        let lists = "size(claims.many.map(x, claims.many + claims.many)) > 0";
        assert_eq!(judged(lists, &json!({ "many": vec!["a"; 20] })), Ok(true));
        assert_eq!(judged(lists, &json!({ "many": vec!["a"; 500] })), Err(Inconclusive));
        let literal = format!("[{}].all(x, x + x + x + x + x > 0)", "1,".repeat(150));
        assert_eq!(judged(&literal, &json!({})), Err(Inconclusive));
        assert_eq!(
            judged("claims.many.filter(x, x != 'b').all(x, x == 'a')", &json!({ "many": ["a", "b"] })),
            Ok(true)
        );
    }
}
