//! Conditions of rules, in the Common Expression Language (CEL).
//!
//! What a condition may cost is bounded before it is ever evaluated, but for loops over what tokens and requests hold:
//! those are bounded by the number of steps. What cannot be evaluated is not met: a claim that is not there, a number
//! where a text should be, too many steps.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::Arc;
use std::thread;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{Context, Env, Program, Value};

use super::{Headers, Request};
use crate::clock::Timestamp;
use crate::jose::{Json, Members};

/// The longest condition, in bytes.
pub const CONDITION_LIMIT: usize = 1_024;

/// The most operators, names and literals in a condition.
const NODE_LIMIT: usize = 200;

/// The deepest nesting. An evaluation takes stack for each level.
const DEPTH_LIMIT: usize = 24;

/// The most steps that all loops of one evaluation may take.
const STEP_LIMIT: usize = 20_000;

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
    size: Size,
}

/// What an evaluation costs.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    nodes: usize,
    /// How many of them are evaluated for each item of a list.
    in_loops: usize,
    /// How often lists may be put together: each may become that much longer.
    sums: usize,
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

    /// Whether the facts meet the condition.
    pub(super) fn holds(&self, facts: &Facts<'_>) -> Result<bool, Inconclusive> {
        let mut context = Context::with_env(Arc::clone(&self.language));
        let mut longest = 0;
        for (name, _) in VARIABLES.into_iter().zip(self.names).filter(|(_, named)| *named) {
            let value = match name {
                "claims" => object(facts.claims, &mut longest),
                "request" => request(facts, &mut longest),
                _ => Value::Int(facts.now.seconds()),
            };
            context.add_variable_from_value(name, value);
        }
        if self.size.in_loops.saturating_mul(longest).saturating_mul(self.size.sums + 1) > STEP_LIMIT {
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
        let mut size = Size::default();
        measure(program.expression(), &mut Surroundings::default(), &mut size)?;
        let named = program.references();
        let names = VARIABLES.map(|name| named.has_variable(name));
        drop(named);
        Ok(Self { text: text.into(), program: Arc::new(program), language, names, size })
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

/// Where in a condition an expression stands.
#[derive(Clone, Default)]
struct Surroundings<'a> {
    depth: usize,
    in_loop: bool,
    /// The names that loops around it give.
    names: Vec<&'a str>,
}

/// Counts what an evaluation costs, and refuses what there is not.
fn measure<'a>(expression: &'a IdedExpr, at: &mut Surroundings<'a>, size: &mut Size) -> Result<(), ConditionFault> {
    at.depth += 1;
    size.nodes += 1;
    size.in_loops += usize::from(at.in_loop);
    if at.depth > DEPTH_LIMIT || size.nodes > NODE_LIMIT {
        return Err(ConditionFault::TooLarge);
    }
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) => {}
        Expr::Ident(name) => {
            let name = name.as_str();
            if !at.names.contains(&name) && !VARIABLES.contains(&name) && !TYPES.contains(&name) {
                return Err(ConditionFault::UnknownName(name.to_owned()));
            }
        }
        Expr::Select(select) => measure(&select.operand, at, size)?,
        Expr::Call(call) => {
            let name = call.func_name.as_str();
            let operator = name.starts_with(['_', '!', '-', '@']);
            if !operator && !FUNCTIONS.contains(&name) {
                return Err(ConditionFault::UnknownFunction(name.to_owned()));
            }
            size.sums += usize::from(name == "_+_");
            for part in call.target.as_deref().into_iter().chain(&call.args) {
                measure(part, at, size)?;
            }
        }
        Expr::List(list) => list.elements.iter().try_for_each(|element| measure(element, at, size))?,
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| measure_entry(&entry.expr, at, size))?,
        Expr::Struct(_) => return Err(ConditionFault::UnknownFunction("a message type".to_owned())),
        Expr::Comprehension(all) => {
            if at.in_loop {
                return Err(ConditionFault::NestedLoops);
            }
            measure(&all.iter_range, at, size)?;
            measure(&all.accu_init, at, size)?;
            let mut within = Surroundings { in_loop: true, ..at.clone() };
            within.names.extend([all.iter_var.as_str(), all.accu_var.as_str()]);
            within.names.extend(all.iter_var2.as_deref());
            for part in [&all.loop_cond, &all.loop_step, &all.result] {
                measure(part, &mut within, size)?;
            }
        }
    }
    at.depth -= 1;
    Ok(())
}

fn measure_entry<'a>(entry: &'a EntryExpr, at: &mut Surroundings<'a>, size: &mut Size) -> Result<(), ConditionFault> {
    match entry {
        EntryExpr::MapEntry(entry) => {
            measure(&entry.key, at, size)?;
            measure(&entry.value, at, size)
        }
        EntryExpr::StructField(field) => measure(&field.value, at, size),
    }
}

/// What conditions see of a request. Its headers have names in lower case; one that occurs several times is joined by
/// commas (RFC 9110 §5.3), and octets that are no UTF-8 are replaced: neither can look like a header that is not there.
fn request(facts: &Facts<'_>, longest: &mut usize) -> Value {
    let query = facts.request.target.split_once('?').map_or("", |(_, query)| query);
    let headers = headers(&facts.request.headers);
    *longest = (*longest).max(headers.len());
    let members: [(&str, Value); 5] = [
        ("method", facts.request.method.into()),
        ("host", facts.request.host.into()),
        ("path", facts.path.into()),
        ("query", query.into()),
        ("headers", headers.into()),
    ];
    members.into_iter().collect::<HashMap<_, _>>().into()
}

/// All but credentials.
fn headers(headers: &Headers<'_>) -> HashMap<String, Value> {
    const CREDENTIALS: [&str; 4] = ["authorization", "dpop", "cookie", "proxy-authorization"];
    let mut texts: HashMap<String, String> = HashMap::new();
    for (name, value) in headers.iter() {
        let name = name.to_ascii_lowercase();
        if CREDENTIALS.contains(&name.as_str()) || name.starts_with(':') {
            continue;
        }
        let value = String::from_utf8_lossy(value);
        texts
            .entry(name)
            .and_modify(|joined| *joined = format!("{joined},{value}"))
            .or_insert_with(|| value.into_owned());
    }
    texts.into_iter().map(|(name, value)| (name, Value::from(value))).collect()
}

fn object(members: &Members, longest: &mut usize) -> Value {
    *longest = (*longest).max(members.len());
    let members = members.iter().map(|(name, value)| (name.clone(), json(value, longest)));
    members.collect::<HashMap<_, _>>().into()
}

/// JSON has one kind of number: a whole one is an `int` if it fits.
fn json(value: &Json, longest: &mut usize) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => Value::Int(number),
            (None, Some(number), _) => Value::UInt(number),
            (None, None, number) => number.map_or(Value::Null, Value::Float),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => {
            *longest = (*longest).max(items.len());
            items.iter().map(|item| json(item, longest)).collect::<Vec<_>>().into()
        }
        Json::Object(members) => object(members, longest),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(text: &str, claims: &Json) -> Result<bool, Inconclusive> {
        let condition: Condition = text.parse().unwrap_or_else(|fault| panic!("{text}: {fault}"));
        let headers = [("x-tenant", "acme"), ("X-Twice", "a"), ("x-twice", "b"), ("authorization", "DPoP secret")];
        let request = Request {
            resource: None,
            method: "POST",
            host: "api.example.com",
            target: "/orders/7?dry=1",
            headers: headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect(),
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
            ("request.headers['x-twice'] == 'a,b'", Ok(true)),
            ("'authorization' in request.headers", Ok(false)),
            ("type(claims.level) == int && size(claims.roles) == 2", Ok(true)),
            // What cannot be told is not met, whichever way it is asked.
            ("claims.team == 'a'", Err(Inconclusive)),
            ("!(claims.team == 'a')", Err(Inconclusive)),
            ("claims.team != 'a'", Err(Inconclusive)),
            ("claims.level", Err(Inconclusive)),
            ("claims.level < '3'", Err(Inconclusive)),
            ("1 / (claims.level - 3) == 1", Err(Inconclusive)),
            ("claims.level + 9223372036854775807 > 0", Err(Inconclusive)),
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
}
