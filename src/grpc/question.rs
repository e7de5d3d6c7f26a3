//! Reading `CheckRequest`s so that every one of them gets an answer.
//!
//! A gRPC error leaves the verdict to the proxy's settings for failures. So what cannot be decoded, or is too large, is
//! not an error of the call but a question that will be denied.

use bytes::Buf as _;
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use prost::Message as _;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// The largest question that is judged, in bytes: twice the head that Envoy lets through, and a certificate.
const QUESTION_LIMIT: usize = 128 * 1_024;

/// What a proxy sent.
pub(super) enum Question {
    /// A request to judge.
    Check(Box<CheckRequest>),
    /// Not a `CheckRequest`: broken, or with text that is not UTF-8.
    Malformed,
    /// Larger than [`QUESTION_LIMIT`]; it was not decoded.
    TooLarge,
}

/// Decodes questions and encodes answers.
#[derive(Clone, Copy, Default)]
pub(super) struct QuestionCodec;

impl Codec for QuestionCodec {
    type Encode = CheckResponse;
    type Decode = Question;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Decoder for QuestionCodec {
    type Item = Question;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Question>, Status> {
        if bytes.remaining() > QUESTION_LIMIT {
            bytes.advance(bytes.remaining());
            return Ok(Some(Question::TooLarge));
        }
        let question =
            CheckRequest::decode(&mut *bytes).map_or(Question::Malformed, |check| Question::Check(check.into()));
        bytes.advance(bytes.remaining()); // the decoder stops where it fails
        Ok(Some(question))
    }
}

impl Encoder for QuestionCodec {
    type Item = CheckResponse;
    type Error = Status;

    fn encode(&mut self, answer: CheckResponse, bytes: &mut EncodeBuf<'_>) -> Result<(), Status> {
        answer.encode(bytes).map_err(|_| Status::internal("no room for the answer"))
    }
}
