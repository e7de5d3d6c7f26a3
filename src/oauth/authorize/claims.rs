//! The `claims` parameter (OpenID Connect Core §5.5): what a client asks to be told claim by claim.
//!
//! | member | claim | means |
//! |---|---|---|
//! | `id_token`, `userinfo` | one of §5.1 that the client's registered scopes cover | it is told there, if it is known |
//! | `id_token` | `acr` | as `acr_values`; if it is essential, any other sign-in is an error (§5.5.1.1) |
//! | either | `sub` with `value` | nobody else's sign-in will do (§5.5.1) |
//! | `id_token` | `auth_time` | it is there in any case; if it is essential, whoever signs people in must say when |
//!
//! Anything else is ignored, as §5.5 wants it: a claim that is not told is no error, essential or not.

use serde_json::Value;

use crate::ident::Acr;
use crate::jose::{Members, object};
use crate::oauth::client::Client;
use crate::oauth::{Parameters, Refusal, standard_claims};
use crate::token::{RequestedClaims, Told};

/// The longest `claims`, in bytes after decoding.
const LIMIT: usize = 8 * 1_024;

/// The most values of one claim.
const VALUES: usize = 16;

/// What the parameter asks for.
#[derive(Default)]
pub(super) struct AskedClaims {
    /// What is to be told.
    pub(super) told: RequestedClaims,
    /// How well the person is to be recognised; `None` if nothing is said.
    pub(super) acr: Option<AskedAcr>,
    /// Who it must be, as the client knows them.
    pub(super) subject: Option<String>,
    /// Whether it must be known when the person signed in.
    pub(super) auth_time: bool,
}

/// How well a person is to be recognised.
pub(super) struct AskedAcr {
    /// Any of these; any at all if it is empty.
    pub(super) values: Vec<Acr>,
    /// Whether nothing else will do.
    pub(super) is_essential: bool,
}

/// Reads the parameter of a request.
pub(super) fn asked(parameters: &Parameters, client: &Client) -> Result<AskedClaims, Refusal> {
    let Some(text) = parameters.get("claims") else { return Ok(AskedClaims::default()) };
    if text.len() > LIMIT {
        return Err(Refusal::ClaimsMalformed);
    }
    let claims = object(text.as_bytes()).map_err(|_| Refusal::ClaimsMalformed)?;
    let mut asked = AskedClaims::default();
    for told in Told::ALL {
        let Some(members) = claims.get(told.name()) else { continue };
        for (name, wanted) in members.as_object().ok_or(Refusal::ClaimsMalformed)? {
            let wanted = match wanted {
                Value::Null => None,
                Value::Object(wanted) => Some(wanted),
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    return Err(Refusal::ClaimsMalformed);
                }
            };
            asked.take(told, name, wanted, client)?;
        }
    }
    Ok(asked)
}

impl AskedClaims {
    fn take(&mut self, told: Told, name: &str, wanted: Option<&Members>, client: &Client) -> Result<(), Refusal> {
        match name {
            "sub" => {
                if let Some(subject) = values(wanted)?.into_iter().next() {
                    self.ask_for(subject)?;
                }
            }
            "acr" if told == Told::InIdToken => {
                let values: Result<_, _> = values(wanted)?.into_iter().map(str::parse).collect();
                let values = values.map_err(|_| Refusal::ClaimsMalformed)?;
                self.acr = Some(AskedAcr { values, is_essential: is_essential(wanted)? });
            }
            "auth_time" if told == Told::InIdToken => self.auth_time = is_essential(wanted)?,
            name => {
                let scope = standard_claims::scope_of(name);
                let covered = |scope: &str| client.scopes.iter().any(|each| each.as_str() == scope);
                if scope.is_some_and(covered) {
                    self.told.ask(told, name);
                }
            }
        }
        Ok(())
    }

    fn ask_for(&mut self, subject: &str) -> Result<(), Refusal> {
        if self.subject.as_ref().is_some_and(|earlier| earlier != subject) {
            return Err(Refusal::ClaimsMalformed); // it cannot be two people
        }
        self.subject = Some(subject.to_owned());
        Ok(())
    }
}

/// `value`, or else `values` (§5.5.1).
fn values(wanted: Option<&Members>) -> Result<Vec<&str>, Refusal> {
    let Some(wanted) = wanted else { return Ok(Vec::new()) };
    let all = match (wanted.get("value"), wanted.get("values")) {
        (Some(value), _) => vec![value],
        (None, Some(values)) => values.as_array().ok_or(Refusal::ClaimsMalformed)?.iter().collect(),
        (None, None) => Vec::new(),
    };
    if all.len() > VALUES {
        return Err(Refusal::ClaimsMalformed);
    }
    all.into_iter().map(Value::as_str).collect::<Option<_>>().ok_or(Refusal::ClaimsMalformed)
}

fn is_essential(wanted: Option<&Members>) -> Result<bool, Refusal> {
    match wanted.and_then(|wanted| wanted.get("essential")) {
        None => Ok(false),
        Some(essential) => essential.as_bool().ok_or(Refusal::ClaimsMalformed),
    }
}
