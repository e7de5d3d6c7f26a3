//! Whose span called: `traceparent` of W3C Trace Context, or the headers of B3, in both of their forms.
//!
//! `tracestate` and baggage are not read: they may hold anything, and would be sent on to the collector.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// The span of a caller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum CallerSpan {
    /// The caller does not speak of one.
    None,
    /// One to be joined, and with it the caller's choice whether it is recorded.
    Trusted(SpanContext),
    /// One that anybody may have made up: who could have his requests recorded, or kept out of the record, must not decide.
    Other(SpanContext),
}

impl CallerSpan {
    /// What the headers of a proxy say that the operator has put in front.
    pub(crate) fn trusted<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Self {
        read(&header).map_or(Self::None, Self::Trusted)
    }

    /// What the headers of anybody say.
    pub(crate) fn of_anybody<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Self {
        read(&header).map_or(Self::None, Self::Other)
    }
}

/// W3C Trace Context counts more than B3, and the one header of B3 more than the several.
fn read<'a>(header: &dyn Fn(&str) -> Option<&'a str>) -> Option<SpanContext> {
    let w3c = TraceContextPropagator::new().extract_with_context(&Context::new(), &TraceParent(header("traceparent")));
    let found = w3c.span().span_context().clone();
    if found.is_valid() {
        return Some(found);
    }
    if let Some(one) = header("b3") {
        let mut parts = one.split('-');
        return b3(parts.next()?, parts.next()?, parts.next());
    }
    let flags = header("x-b3-flags").filter(|flags| *flags == "1").map(|_| "d");
    b3(header("x-b3-traceid")?, header("x-b3-spanid")?, flags.or_else(|| header("x-b3-sampled")))
}

/// The names in B3: 64 or 128 bits of a trace, 64 of a span. What is not decided is not recorded, or one trace would be
/// recorded in part.
fn b3(trace: &str, span: &str, sampled: Option<&str>) -> Option<SpanContext> {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if ![16, 32].contains(&trace.len()) || span.len() != 16 || !hex(trace) || !hex(span) {
        return None;
    }
    let flags = if matches!(sampled, Some("1" | "d" | "true")) { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    let names = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let found = SpanContext::new(names.0, names.1, flags, true, TraceState::NONE);
    found.is_valid().then_some(found)
}

/// `traceparent`, and nothing else.
struct TraceParent<'a>(Option<&'a str>);

impl Extractor for TraceParent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.filter(|_| key == "traceparent")
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn callers_name_their_span_in_any_of_three_ways() {
        let w3c = |flags: &str| format!("00-{TRACE}-{SPAN}-{flags}");
        let short = &TRACE[16..];
        for (headers, expected) in [
            (vec![("traceparent", w3c("01"))], Some((TRACE, true))),
            (vec![("traceparent", w3c("00"))], Some((TRACE, false))),
            (vec![("traceparent", w3c("01")), ("b3", "0".to_owned())], Some((TRACE, true))),
            (vec![("b3", format!("{TRACE}-{SPAN}-1-{SPAN}"))], Some((TRACE, true))),
            (vec![("b3", format!("{short}-{SPAN}-0"))], Some((short, false))),
            (vec![("b3", format!("{TRACE}-{SPAN}-d"))], Some((TRACE, true))),
            (vec![("b3", format!("{TRACE}-{SPAN}"))], Some((TRACE, false))),
            (
                vec![
                    ("x-b3-traceid", TRACE.to_owned()),
                    ("x-b3-spanid", SPAN.to_owned()),
                    ("x-b3-sampled", "1".to_owned()),
                ],
                Some((TRACE, true)),
            ),
            (
                vec![
                    ("x-b3-traceid", short.to_owned()),
                    ("x-b3-spanid", SPAN.to_owned()),
                    ("x-b3-flags", "1".to_owned()),
                ],
                Some((short, true)),
            ),
            (vec![], None),
            (vec![("traceparent", "00-secret-secret-01".to_owned())], None),
            (vec![("traceparent", format!("00-{:032}-{SPAN}-01", 0))], None),
            (vec![("b3", "0".to_owned())], None),
            (vec![("b3", format!("{TRACE}-+0f067aa0ba902b7-1"))], None),
            (vec![("b3", format!("{:032}-{SPAN}-1", 0))], None),
            (vec![("x-b3-traceid", TRACE.to_owned())], None),
        ] {
            let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
            let found = CallerSpan::trusted(header);
            let CallerSpan::Trusted(context) = &found else {
                assert_eq!((found, expected), (CallerSpan::None, None), "{headers:?}");
                continue;
            };
            let (trace, sampled) = expected.unwrap_or_else(|| panic!("{headers:?}"));
            assert_eq!(context.trace_id(), TraceId::from_hex(trace).expect("hex"), "{headers:?}");
            assert_eq!(context.span_id(), SpanId::from_hex(SPAN).expect("hex"), "{headers:?}");
            assert_eq!(context.is_sampled(), sampled, "{headers:?}");
            assert_eq!(CallerSpan::of_anybody(header), CallerSpan::Other(context.clone()), "{headers:?}");
        }
    }
}
