//! How an authorization request came: in the clear, signed (RFC 9101), or pushed by its client before (RFC 9126 §4).

use std::sync::Arc;

use super::{AuthorizationServer, Client, Error, Refusal};
use crate::oauth::Parameters;
use crate::oauth::clients::Asker;
use crate::secret::{Kind as _, RequestUri, RequestUriKind};
use crate::store::TransactionId;

/// An authorization request whose parameters are to be judged.
pub(in crate::oauth) struct Submission {
    pub(super) parameters: Parameters,
    /// The names that occur more than once.
    pub(super) repeated: Vec<String>,
    pub(super) way: Way,
}

/// How it came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::oauth) enum Way {
    /// Through the browser, as anybody could have written it.
    Plain,
    /// Through the browser, signed by the client.
    Signed,
    /// From the client itself, which began this transaction with it.
    Pushed(TransactionId),
}

impl Way {
    /// The transaction that a pushed request began.
    pub(super) fn pushed(self) -> Option<TransactionId> {
        match self {
            Self::Pushed(transaction) => Some(transaction),
            Self::Plain | Self::Signed => None,
        }
    }
}

impl AuthorizationServer {
    /// Finds the parameters that count. Beside `request` and a `request_uri` of ours only `client_id` is read (RFC 9101
    /// §6.3, RFC 9126 §4).
    pub(super) async fn submission(
        &self,
        parameters: Parameters,
        repeated: Vec<String>,
        asker: Asker,
    ) -> Result<Submission, Error> {
        let pushed = parameters.get("request_uri").filter(|uri| uri.starts_with(RequestUriKind::PREFIX));
        let (Some(reference), object) = (pushed, parameters.get("request")) else {
            return self.unpushed(parameters, repeated, asker).await;
        };
        if object.is_some() {
            return Err(Refusal::RequestAmbiguous.into()); // RFC 9101 §5
        }
        let client = self.sender(&parameters, &repeated, ("request_uri", asker)).await?;
        let reference: RequestUri = reference.parse().map_err(|_| Refusal::PushedRequestUnknown)?;
        let request = self.store.pushed_request(reference.digest()).await?;
        let ours = request.filter(|request| request.client_id == client.id && request.is_waiting(asker.now));
        let request = ours.ok_or(Refusal::PushedRequestUnknown)?;
        let way = Way::Pushed(request.transaction);
        Ok(Submission { parameters: Parameters::parse(&request.parameters)?, repeated: Vec::new(), way })
    }

    async fn unpushed(&self, parameters: Parameters, repeated: Vec<String>, asker: Asker) -> Result<Submission, Error> {
        let Some(object) = parameters.get("request") else {
            return Ok(Submission { parameters, repeated, way: Way::Plain });
        };
        if parameters.get("request_uri").is_some() {
            return Err(Refusal::RequestAmbiguous.into());
        }
        let client = self.sender(&parameters, &repeated, ("request", asker)).await?;
        let parameters = self.open_request_object(object, &client, asker.now).await?;
        Ok(Submission { parameters, repeated: Vec::new(), way: Way::Signed })
    }

    /// The client that `client_id` names beside the parameter that stands for all others; neither may occur twice.
    async fn sender(
        &self,
        parameters: &Parameters,
        repeated: &[String],
        (beside, asker): (&str, Asker),
    ) -> Result<Arc<Client>, Error> {
        if repeated.iter().any(|name| name == "client_id" || name == beside) {
            return Err(Refusal::ParameterRepeated.into());
        }
        let id = parameters.get("client_id").ok_or(Refusal::AuthorizeClientUnknown)?;
        Ok(self.client(id, asker).await?.ok_or(Refusal::AuthorizeClientUnknown)?)
    }

    /// Whether a client may send a request in this way.
    pub(super) fn check_way(&self, way: Way, client: &Client) -> Result<(), Refusal> {
        let exempt = self.first_party.client(client.id.as_str()).is_some(); // our own pages know what they ask
        match way {
            Way::Pushed(_) => Ok(()), // judged when it was pushed
            Way::Plain | Way::Signed if self.must_push(client) && !exempt => Err(Refusal::PushedRequestRequired),
            Way::Plain | Way::Signed => client.check_signed(way),
        }
    }

    fn must_push(&self, client: &Client) -> bool {
        client.requests.pushed_only || client.profile.is_fapi() || self.settings.require_pushed_requests
    }
}

impl Client {
    /// RFC 9101 §10.5: a client that signs its requests sends no others.
    pub(in crate::oauth) fn check_signed(&self, way: Way) -> Result<(), Refusal> {
        if way == Way::Plain && self.requests.signed_only { Err(Refusal::RequestObjectRequired) } else { Ok(()) }
    }
}
