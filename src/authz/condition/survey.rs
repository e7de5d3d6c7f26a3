//! What a condition is made of, found once and before it counts: which headers it reads, and what evaluating it may cost.

use std::collections::BTreeSet;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};

use super::{ConditionFault, DEPTH_LIMIT, FUNCTIONS, NODE_LIMIT, TYPES, VARIABLES};

/// What there is to know of a request.
const MEMBERS: [&str; 5] = ["headers", "host", "method", "path", "query"];

/// What macros call the value that they build up; nobody else can write that.
const ACCUMULATOR: &str = "@result";

/// Who sends a request, and whoever claims to have passed it on: nothing that a condition may go by.
const UNSEEN: [&str; 9] = [
    "authorization",
    "cookie",
    "dpop",
    "forwarded",
    "host",
    "proxy-authorization",
    "x-http-method",
    "x-method-override",
    "x-rewrite-url",
];

/// The same, by how they begin.
const UNSEEN_PREFIXES: [&str; 4] = ["x-envoy-", "x-forwarded-", "x-http-method-", "x-original-"];

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    /// Operators, names and literals.
    nodes: usize,
    /// How many of them are evaluated for each item of a list.
    pub(super) in_loops: usize,
    /// How many sums are there for each item of a list, which may be of lists as long as that one.
    pub(super) sums_in_loops: usize,
    /// How often lists and texts may be put together: each may become that much longer.
    pub(super) sums: usize,
    /// The length of the longest literal list or map.
    pub(super) longest: usize,
    /// The headers that are read, in lower case.
    pub(super) headers: BTreeSet<String>,
}

/// Where in a condition an expression stands.
#[derive(Clone, Default)]
struct Surroundings<'a> {
    depth: usize,
    in_loop: bool,
    /// The names that loops around it give.
    names: Vec<&'a str>,
}

impl Survey {
    /// Looks at all of an expression, and refuses what there is not.
    pub(super) fn of(expression: &IdedExpr) -> Result<Self, ConditionFault> {
        let mut survey = Self::default();
        survey.visit(expression, &mut Surroundings::default())?;
        Ok(survey)
    }

    fn visit<'a>(&mut self, expression: &'a IdedExpr, at: &mut Surroundings<'a>) -> Result<(), ConditionFault> {
        at.depth += 1;
        self.nodes += 1;
        self.in_loops += usize::from(at.in_loop);
        if at.depth > DEPTH_LIMIT || self.nodes > NODE_LIMIT {
            return Err(ConditionFault::TooLarge);
        }
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            // By a name that is no text in the condition, any header could be read.
            Expr::Ident(name) if name == "request" => return Err(ConditionFault::HeaderUnnamed),
            Expr::Ident(name) => {
                let name = name.as_str();
                if !at.names.contains(&name) && !VARIABLES.contains(&name) && !TYPES.contains(&name) {
                    return Err(ConditionFault::UnknownName(name.to_owned()));
                }
            }
            Expr::Select(select) if is_headers(&select.operand) => self.header(&select.field)?,
            Expr::Select(select) if is_request(&select.operand) => match select.field.as_str() {
                "headers" => return Err(ConditionFault::HeaderUnnamed),
                known if MEMBERS.contains(&known) => {}
                unknown => return Err(ConditionFault::UnknownName(format!("request.{unknown}"))),
            },
            Expr::Select(select) => self.visit(&select.operand, at)?,
            Expr::Call(call) => self.visit_call(call, at)?,
            Expr::List(list) => {
                self.longest = self.longest.max(list.elements.len());
                list.elements.iter().try_for_each(|element| self.visit(element, at))?;
            }
            Expr::Map(map) => {
                self.longest = self.longest.max(map.entries.len());
                map.entries.iter().try_for_each(|entry| self.visit_entry(&entry.expr, at))?;
            }
            Expr::Struct(_) => return Err(ConditionFault::UnknownFunction("a message type".to_owned())),
            Expr::Comprehension(all) => self.visit_loop(all, at)?,
        }
        at.depth -= 1;
        Ok(())
    }

    fn visit_call<'a>(&mut self, call: &'a CallExpr, at: &mut Surroundings<'a>) -> Result<(), ConditionFault> {
        let name = call.func_name.as_str();
        match (name, call.args.as_slice()) {
            ("_[_]", [headers, name]) | ("@in", [name, headers]) if is_headers(headers) => {
                let name = text(name).ok_or(ConditionFault::HeaderUnnamed)?;
                return self.header(name);
            }
            ("_+_", [one, _]) if is_accumulator(one) => {} // a macro's own, which adds what is counted already
            ("_+_", sides) => {
                self.sums += 1;
                let plain = sides.iter().any(|side| matches!(side.expr, Expr::Literal(_)));
                self.sums_in_loops += usize::from(at.in_loop && !plain);
            }
            _ => {}
        }
        let operator = name.starts_with(['_', '!', '-', '@']);
        if !operator && !FUNCTIONS.contains(&name) {
            return Err(ConditionFault::UnknownFunction(name.to_owned()));
        }
        call.target.as_deref().into_iter().chain(&call.args).try_for_each(|part| self.visit(part, at))
    }

    fn visit_entry<'a>(&mut self, entry: &'a EntryExpr, at: &mut Surroundings<'a>) -> Result<(), ConditionFault> {
        match entry {
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key, at)?;
                self.visit(&entry.value, at)
            }
            EntryExpr::StructField(field) => self.visit(&field.value, at),
        }
    }

    fn visit_loop<'a>(&mut self, all: &'a ComprehensionExpr, at: &mut Surroundings<'a>) -> Result<(), ConditionFault> {
        if at.in_loop {
            return Err(ConditionFault::NestedLoops);
        }
        // Each `map` may make items of several items: over another one that would be a power of them.
        if maps(&all.iter_range) {
            return Err(ConditionFault::ChainedMaps);
        }
        self.visit(&all.iter_range, at)?;
        self.visit(&all.accu_init, at)?;
        let mut within = Surroundings { in_loop: true, ..at.clone() };
        within.names.extend([all.iter_var.as_str(), all.accu_var.as_str()]);
        within.names.extend(all.iter_var2.as_deref());
        [&all.loop_cond, &all.loop_step, &all.result].into_iter().try_for_each(|part| self.visit(part, &mut within))
    }

    /// Notes a header that is read, if it is one to go by.
    fn header(&mut self, name: &str) -> Result<(), ConditionFault> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        if name.is_empty() || !name.bytes().all(allowed) {
            return Err(ConditionFault::HeaderMalformed(name.to_owned()));
        }
        let spelling = name.replace('_', "-");
        if UNSEEN.contains(&&*spelling) || UNSEEN_PREFIXES.iter().any(|prefix| spelling.starts_with(prefix)) {
            return Err(ConditionFault::HeaderUnseen(name.to_owned()));
        }
        self.headers.insert(name.to_owned());
        Ok(())
    }
}

/// `request`.
fn is_request(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if name == "request")
}

/// `request.headers`.
fn is_headers(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Select(select) if select.field == "headers" && is_request(&select.operand))
}

fn is_accumulator(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if name == ACCUMULATOR)
}

fn text(expression: &IdedExpr) -> Option<&str> {
    match &expression.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// Whether a `map` stands anywhere in an expression. What `filter` makes has no other items than what it goes over.
fn maps(expression: &IdedExpr) -> bool {
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => false,
        Expr::Select(select) => maps(&select.operand),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).any(maps),
        Expr::List(list) => list.elements.iter().any(maps),
        Expr::Map(map) => map.entries.iter().any(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => maps(&entry.key) || maps(&entry.value),
            EntryExpr::StructField(field) => maps(&field.value),
        }),
        Expr::Struct(_) => true,
        Expr::Comprehension(all) => builds(all) || maps(&all.iter_range),
    }
}

/// Whether a macro adds anything but the items themselves to a list.
fn builds(all: &ComprehensionExpr) -> bool {
    let item = |one: &IdedExpr| matches!(&one.expr, Expr::Ident(name) if *name == all.iter_var);
    let added = |step: &IdedExpr| match &step.expr {
        Expr::Call(call) if call.func_name == "_+_" => match call.args.as_slice() {
            [one, IdedExpr { expr: Expr::List(list), .. }] => is_accumulator(one) && !list.elements.iter().all(item),
            _ => false,
        },
        _ => false,
    };
    match &all.loop_step.expr {
        Expr::Call(call) if call.func_name == "_?_:_" => call.args.iter().any(added),
        _ => added(&all.loop_step),
    }
}
