//! What a life of the server is to those who talk to it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use reqwest::RequestBuilder;
use tokio::sync::Notify;
use tollgate::clock::{Clock as _, SystemClock};

use crate::browser::{Browser, Page};
use crate::client::{Answer, Client, TokenCall, try_answer};

use super::history::Reply;

/// How a life ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mortality {
    /// Not while anybody talks to the server.
    Immortal,
    /// The process ends: requests stay without an answer.
    Mortal,
    /// The database ends: requests are answered 503, or not at all.
    WithoutDatabase,
}

/// A life of the server.
pub struct Life {
    mortality: Mortality,
    /// How many messages are to go to and fro before it ends.
    end: usize,
    messages: AtomicUsize,
    due: Notify,
    over: AtomicBool,
}

impl Life {
    pub fn new(mortality: Mortality, end: usize) -> Self {
        Self { mortality, end, messages: AtomicUsize::new(0), due: Notify::new(), over: AtomicBool::new(false) }
    }

    /// A life that goes on.
    pub fn for_ever() -> Self {
        Self::new(Mortality::Immortal, usize::MAX)
    }

    /// Waits until it is to end.
    pub async fn is_due(&self) {
        self.due.notified().await;
    }

    /// It has ended.
    pub fn ended(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn message(&self) {
        if self.messages.fetch_add(1, Ordering::SeqCst) + 1 == self.end {
            self.due.notify_one();
        }
    }

    /// Sends a request; `None` if nobody knows what came of it.
    pub async fn send(&self, request: RequestBuilder) -> Option<Answer> {
        self.message();
        let answer = try_answer(request).await.filter(|answer| !self.explains(answer.status));
        self.received(answer)
    }

    /// Opens a page.
    pub async fn open(&self, browser: &mut Browser, path: &str) -> Option<Page> {
        self.message();
        let page = browser.try_open(path).await.filter(|page| !self.explains(page.status));
        self.received(page)
    }

    /// Submits the form of a page.
    pub async fn submit(&self, browser: &mut Browser, page: &Page, fields: &[(&str, &str)]) -> Option<Page> {
        self.message();
        let page = browser.try_submit(page, fields).await.filter(|page| !self.explains(page.status));
        self.received(page)
    }

    /// Goes where a page sends the browser, as long as that is to the issuer.
    pub async fn follow(&self, browser: &mut Browser, mut page: Page) -> Option<Page> {
        while page.status == 303 {
            let Some(path) = page.header("location").strip_prefix(&browser.issuer).map(str::to_owned) else { break };
            page = self.open(browser, &path).await?;
        }
        Some(page)
    }

    /// Sends a token request, again with a nonce if one is asked for: a proof that an earlier life could have seen is not
    /// taken, and nothing is spent with it.
    pub async fn ask(&self, client: &Client, parameters: &[(&str, &str)]) -> Option<Answer> {
        self.ask_with(client, |client| client.request(SystemClock.now(), parameters)).await
    }

    pub async fn ask_with<'c>(&self, client: &'c Client, call: impl Fn(&'c Client) -> TokenCall<'c>) -> Option<Answer> {
        let answer = self.send(call(client).into_request()).await?;
        if answer.error() != "use_dpop_nonce" {
            return Some(answer);
        }
        let mut claims = client.proof_claims(SystemClock.now());
        claims["nonce"] = answer.header("dpop-nonce").expect("a nonce").into();
        self.send(call(client).proof(&client.sign_proof(&claims)).into_request()).await
    }

    /// What a client makes of no answer: nothing, if that was to be expected.
    pub fn silence(&self) -> Option<Reply> {
        (self.mortality == Mortality::Immortal).then(|| Reply::Nonsense("no answer".to_owned()))
    }

    fn explains(&self, status: u16) -> bool {
        self.mortality == Mortality::WithoutDatabase && status == 503
    }

    fn received<T>(&self, received: Option<T>) -> Option<T> {
        self.message();
        if received.is_none() && self.mortality != Mortality::Immortal {
            self.ended();
        }
        received
    }
}
