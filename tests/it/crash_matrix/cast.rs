//! Who talks to the server: ada in a browser, the application that she uses there, her television, and two services. They
//! do what comes to their mind, note what they were answered, and after a restart ask about all that they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tollgate::clock::{Clock as _, SystemClock, Timestamp};
use tollgate::secret::from_base64url;

use super::dice::Dice;
use super::history::{Call, History, Reply, State, Token};
use super::life::Life;
use crate::browser::{Browser, Page};
use crate::client::{
    AUTHORIZATION_REQUEST, Answer, CLIENT_CREDENTIALS, Client, REVOKE, code_request, http, poll_request,
    refresh_request,
};
use crate::process::{Installation, PASSWORD};

/// How many things one cast holds at once.
const THINGS: usize = 8;

/// How long a code, a pushed request and an assertion are certainly good: each is for a minute at least.
const CERTAINLY_GOOD: Duration = Duration::from_secs(40);

/// What somebody holds.
enum Held {
    Code(String),
    Device {
        code: String,
        user_code: String,
    },
    /// The path that the browser opens.
    Pushed(String),
    Assertion(String),
    Proof(String),
}

/// Something that the server has promises to keep about.
struct Thing {
    held: Held,
    since: Timestamp,
    /// The refresh tokens that came of it.
    tokens: Vec<String>,
    history: History,
}

impl Thing {
    fn new(what: &'static str, held: Held, first: State) -> Self {
        Self { held, since: SystemClock.now(), tokens: Vec::new(), history: History::of(what, first) }
    }

    fn code(code: String) -> Self {
        Self::new("a code", Held::Code(code), State::Good)
    }

    /// Whether its time may be over, so that it says nothing any more.
    fn is_late(&self) -> bool {
        let expires = match self.held {
            Held::Code(_) => self.tokens.is_empty(),
            Held::Pushed(_) | Held::Assertion(_) | Held::Proof(_) => true,
            Held::Device { .. } => false,
        };
        expires && SystemClock.now() > self.since + CERTAINLY_GOOD
    }

    fn last(&self) -> Option<Token> {
        self.tokens.len().checked_sub(1)
    }

    /// Whether nobody can have decided about the device.
    fn is_undecided(&self) -> bool {
        self.history.states().is_ok_and(|states| states == BTreeSet::from([State::Waiting]))
    }

    /// What to ask next.
    fn choose(&self, dice: &mut Dice) -> Call {
        let again = match self.held {
            Held::Code(_) => Call::Redeem,
            Held::Device { .. } => Call::Poll,
            Held::Pushed(_) if dice.percent(50) => return Call::Open,
            Held::Pushed(_) | Held::Assertion(_) => return Call::Spend,
            Held::Proof(_) => return Call::Prove,
        };
        let Some(last) = self.last() else {
            return match (again, dice.below(100)) {
                (Call::Poll, 0..35) if self.is_undecided() => Call::Approve,
                (Call::Poll, 35..45) if self.is_undecided() => Call::Decline,
                (again, _) => again,
            };
        };
        match dice.below(100) {
            0..65 => Call::Refresh(last),
            65..75 => Call::Refresh(last.saturating_sub(1)),
            75..80 => Call::Refresh(dice.below(last + 1)),
            80..92 => Call::Revoke(dice.below(last + 1)),
            _ => again,
        }
    }
}

/// What a client makes of an answer, before it knows whether a refresh token is new to it.
enum Heard {
    RefreshToken(String),
    Reply(Reply),
}

/// For each kind of thing, how many calls there were, and how many without an answer.
pub type Tally = BTreeMap<&'static str, (usize, usize)>;

/// Adds the calls of a history.
pub fn count(tally: &mut Tally, history: &History) {
    let (calls, unanswered) = history.calls();
    let entry = tally.entry(history.what).or_default();
    *entry = (entry.0 + calls, entry.1 + unanswered);
}

/// Everybody who talks to the server at the same time as the other casts.
pub struct Cast {
    dice: Dice,
    browser: Browser,
    /// What the server promised when ada signed in.
    session: Option<History>,
    spa: Client,
    tv: Client,
    web: Client,
    backend: Client,
    things: Vec<Thing>,
    /// Of what is forgotten: how many calls there were about each kind of thing, and how many without an answer.
    forgotten: Tally,
    /// The keys by which the server has signed since this was asked last.
    signers: BTreeSet<String>,
}

impl Cast {
    pub fn new(installation: &Installation, dice: Dice) -> Self {
        let client = |id| installation.client(id);
        Self {
            dice,
            browser: Browser::new(&installation.issuer),
            session: None,
            spa: client("spa"),
            tv: client("tv"),
            web: client("web"),
            backend: client("backend"),
            things: Vec::new(),
            forgotten: Tally::new(),
            signers: BTreeSet::new(),
        }
    }

    /// The same people, with new connections: the server has restarted.
    pub fn reconnected(self) -> Self {
        let Self { spa, tv, web, backend, browser, .. } = self;
        let (spa, tv, web, backend) = (spa.reconnected(), tv.reconnected(), web.reconnected(), backend.reconnected());
        let browser = Browser { http: http(), ..browser };
        Self { spa, tv, web, backend, browser, signers: BTreeSet::new(), ..self }
    }

    /// What each thing says that was broken.
    pub fn complaints(&self) -> Vec<String> {
        let histories = self.things.iter().map(|thing| &thing.history).chain(&self.session);
        histories.filter_map(|history| history.check().err()).collect()
    }

    /// The keys by which the server has signed in this life.
    pub fn signers(&self) -> &BTreeSet<String> {
        &self.signers
    }

    /// Does what comes to mind until the life is over.
    pub async fn live(mut self, life: &Life) -> Self {
        while !life.is_over() {
            self.forget_what_is_late();
            if self.things.is_empty() || (self.things.len() < THINGS && self.dice.percent(40)) {
                self.begin(life).await;
                continue;
            }
            let thing = self.dice.below(self.things.len());
            let call = self.things[thing].choose(&mut self.dice);
            let mut calls = vec![call.clone()];
            if !matches!(call, Call::Approve | Call::Decline) {
                calls.resize(1 + self.dice.below(9) / 6 * (1 + self.dice.below(2)), call);
            }
            if let (Some(last), true) = (self.things[thing].last(), calls.len() > 1 && self.dice.percent(20)) {
                calls[0] = Call::Revoke(last);
            }
            self.ask_at_once(thing, calls, life).await;
        }
        self
    }

    /// Asks about everything that is held.
    pub async fn ask_about_everything(mut self, life: &Life) -> Self {
        self.forget_what_is_late();
        self.come_back(life).await;
        let mut thing = 0;
        while thing < self.things.len() {
            match self.things[thing].held {
                Held::Code(_) if self.things[thing].tokens.is_empty() => self.ask(thing, Call::Redeem, life).await,
                Held::Device { .. } if self.things[thing].tokens.is_empty() => self.ask(thing, Call::Poll, life).await,
                Held::Code(_) | Held::Device { .. } => {}
                Held::Pushed(_) => {
                    self.ask(thing, Call::Open, life).await;
                    self.ask(thing, Call::Spend, life).await;
                    self.ask(thing, Call::Spend, life).await;
                }
                Held::Assertion(_) => self.ask(thing, Call::Spend, life).await,
                Held::Proof(_) => self.ask(thing, Call::Prove, life).await,
            }
            if let Some(last) = self.things[thing].last() {
                self.ask(thing, Call::Refresh(last), life).await;
                if self.dice.percent(25) {
                    let again = self.dice.percent(50).then_some(Call::Redeem);
                    let again = again.filter(|_| matches!(self.things[thing].held, Held::Code(_)));
                    self.ask(thing, again.unwrap_or(Call::Revoke(last)), life).await;
                    self.ask(thing, Call::Refresh(last), life).await;
                }
            }
            thing += 1;
        }
        self
    }

    /// Forgets most of what is over, and some of the rest.
    pub fn forget(&mut self) {
        let Self { dice, things, forgotten, .. } = self;
        let forget = |thing: &mut Thing| dice.percent(if thing.history.is_over() { 70 } else { 15 });
        for thing in things.extract_if(.., forget) {
            count(forgotten, &thing.history);
        }
    }

    fn forget_what_is_late(&mut self) {
        for thing in self.things.extract_if(.., |thing| thing.is_late()) {
            count(&mut self.forgotten, &thing.history);
        }
    }

    /// How many calls there were about each kind of thing, and how many without an answer.
    pub fn tally(&self) -> Tally {
        let mut tally = self.forgotten.clone();
        self.things.iter().map(|thing| &thing.history).chain(&self.session).for_each(|each| count(&mut tally, each));
        tally
    }

    /// Begins something new.
    async fn begin(&mut self, life: &Life) {
        let now = SystemClock.now();
        let thing = match self.dice.below(100) {
            0..35 => self.authorize(life).await,
            35..60 => {
                let device = life.send(self.tv.device_request(now, &[]).into_request()).await;
                device.map(|answer| {
                    let (code, user_code) = (answer.text("device_code"), answer.text("user_code"));
                    let held = Held::Device { code: code.to_owned(), user_code: user_code.to_owned() };
                    Thing::new("a device", held, State::Waiting)
                })
            }
            60..80 => {
                let pushed = life.send(self.spa.push(now, &AUTHORIZATION_REQUEST).into_request()).await;
                pushed.map(|answer| {
                    Thing::new("a pushed request", Held::Pushed(self.spa.pushed_path(&answer)), State::Waiting)
                })
            }
            80..90 => {
                let assertion = self.web.sign_assertion(&self.web.assertion_claims(now));
                Some(Thing::new("an assertion", Held::Assertion(assertion), State::Waiting))
            }
            _ => Some(Thing::new("a proof", Held::Proof(self.backend.proof(now)), State::Waiting)),
        };
        self.things.extend(thing);
    }

    async fn ask(&mut self, thing: usize, call: Call, life: &Life) {
        self.ask_at_once(thing, vec![call], life).await;
    }

    /// Sends calls about a thing at once, and notes what comes back.
    async fn ask_at_once(&mut self, thing: usize, calls: Vec<Call>, life: &Life) {
        let heard = match (&self.things[thing].held, &calls[0]) {
            (Held::Device { user_code, .. }, Call::Approve | Call::Decline) => {
                let user_code = user_code.clone();
                vec![self.decide(&user_code, calls[0] == Call::Approve, life).await]
            }
            (Held::Pushed(path), _) => {
                let (path, approves) = (path.clone(), calls[0] == Call::Spend);
                let answers = at_once(calls.iter().map(|_| self.answer_pushed(&path, approves, life))).await;
                let mut heard = Vec::new();
                for answer in answers {
                    heard.push(answer.map(|(reply, code)| {
                        self.things.extend(code.map(Thing::code));
                        Heard::Reply(reply)
                    }));
                }
                heard
            }
            _ => {
                let answers = at_once(calls.iter().map(|call| self.request(&self.things[thing], call, life))).await;
                let signers = answers.iter().flatten().filter_map(signer).collect::<Vec<_>>();
                self.signers.extend(signers);
                let heard = |(call, answer): (&Call, Option<Answer>)| answer.map(|answer| hear(call, &answer));
                calls.iter().zip(answers).map(heard).collect()
            }
        };
        let tokens = &mut self.things[thing].tokens;
        let replies = heard.into_iter().map(|heard| match heard {
            Some(Heard::RefreshToken(token)) => Some(Reply::Token(place(tokens, token))),
            Some(Heard::Reply(reply)) => Some(reply),
            None => life.silence(),
        });
        let step = calls.into_iter().zip(replies.collect::<Vec<_>>()).collect();
        self.things[thing].history.note(step);
    }

    /// Sends one request about a thing.
    async fn request(&self, thing: &Thing, call: &Call, life: &Life) -> Option<Answer> {
        let now = SystemClock.now();
        let client = if matches!(thing.held, Held::Device { .. }) { &self.tv } else { &self.spa };
        match (&thing.held, call) {
            (_, Call::Refresh(token)) => life.ask(client, &refresh_request(&thing.tokens[*token])).await,
            (_, Call::Revoke(token)) => {
                life.send(client.about(REVOKE, &thing.tokens[*token], now).into_request()).await
            }
            (Held::Code(code), _) => life.ask(client, &code_request(code)).await,
            (Held::Device { code, .. }, _) => life.ask(client, &poll_request(code)).await,
            (Held::Assertion(assertion), _) => {
                let call = self.web.bare_request(&CLIENT_CREDENTIALS).assertion(assertion);
                life.send(call.into_request()).await
            }
            (Held::Proof(proof), _) => {
                let call = self.backend.request(now, &CLIENT_CREDENTIALS).proof(proof);
                life.send(call.into_request()).await
            }
            (Held::Pushed(_), _) => unreachable!("a person answers it"),
        }
    }

    /// Ada lets a device in, or turns it away.
    async fn decide(&mut self, user_code: &str, approves: bool, life: &Life) -> Option<Heard> {
        self.come_back(life).await?;
        let browser = &mut self.browser;
        let page = life.open(browser, "/activate").await?;
        let page = life.submit(browser, &page, &[("user_code", user_code)]).await?;
        let question = life.follow(browser, page).await?;
        if !question.has("value=\"approve\"") {
            return Some(Heard::Reply(refused(&question)));
        }
        let decision = if approves { "approve" } else { "deny" };
        let page = life.submit(browser, &question, &[("decision", decision)]).await?;
        let done = page.status == 200 && !page.has("role=\"alert\"");
        Some(Heard::Reply(if done { Reply::Done } else { refused(&page) }))
    }

    /// Ada opens a pushed request, and approves it if she wants to; gives the code that the application then has.
    async fn answer_pushed(&self, path: &str, approves: bool, life: &Life) -> Option<(Reply, Option<String>)> {
        let mut browser = self.browser.clone();
        let mut page = life.open(&mut browser, path).await?;
        if page.has("name=\"password\"") && approves {
            page = life.submit(&mut browser, &page, &[("username", "ada"), ("password", PASSWORD)]).await?;
        }
        let asks = page.has("value=\"approve\"") || page.has("name=\"password\"");
        match (asks, approves) {
            (true, false) => return Some((Reply::Done, None)),
            (true, true) => page = life.submit(&mut browser, &page, &[("decision", "approve")]).await?,
            (false, _) => {}
        }
        match page.status {
            303 => Some((Reply::Done, Some(page.code()))),
            _ => Some((refused(&page), None)),
        }
    }

    /// Ada comes back to the application, and approves what it asks for.
    async fn authorize(&mut self, life: &Life) -> Option<Thing> {
        let page = self.come_back(life).await?;
        let page = life.submit(&mut self.browser, &page, &[("decision", "approve")]).await?;
        Some(Thing::code(page.code()))
    }

    /// Ada opens what the application sends her to, and signs in if she must; gives the page that asks for her consent.
    async fn come_back(&mut self, life: &Life) -> Option<Page> {
        let mut page = life.open(&mut self.browser, &authorization_path()).await?;
        let asked = page.has("name=\"password\"");
        if let Some(session) = &mut self.session {
            session.note(vec![(Call::Return, Some(if asked { Reply::Refused } else { Reply::Done }))]);
        }
        if asked {
            let fields = [("username", "ada"), ("password", PASSWORD)];
            page = life.submit(&mut self.browser, &page, &fields).await?;
            self.session.get_or_insert_with(|| History::of("a session", State::Good));
        }
        assert!(page.has("value=\"approve\""), "{page:?}");
        Some(page)
    }
}

fn authorization_path() -> String {
    let parameters = AUTHORIZATION_REQUEST.into_iter().chain([("client_id", "spa")]);
    format!("/oauth/authorize?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish())
}

/// Waits for three at most.
async fn at_once<F: Future>(mut all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let wait = |one: Option<F>| async {
        match one {
            Some(one) => Some(one.await),
            None => None,
        }
    };
    let (first, second, third) = tokio::join!(wait(all.next()), wait(all.next()), wait(all.next()));
    [first, second, third].into_iter().flatten().collect()
}

/// What a page says that refuses.
fn refused(page: &Page) -> Reply {
    if page.status < 500 { Reply::Refused } else { Reply::Nonsense(format!("{page:?}")) }
}

/// What a client makes of an answer.
fn hear(call: &Call, answer: &Answer) -> Heard {
    let reply = match (answer.status, answer.error()) {
        (200, _) if matches!(call, Call::Redeem | Call::Poll | Call::Refresh(_)) => {
            return Heard::RefreshToken(answer.text("refresh_token").to_owned());
        }
        (200, _) => Reply::Done,
        (400, "authorization_pending" | "slow_down") => Reply::Pending,
        (400, "access_denied") => Reply::Declined,
        (400, "invalid_grant") => Reply::Refused,
        (401, "invalid_client") if *call == Call::Spend => Reply::Refused,
        (400, "use_dpop_nonce" | "invalid_dpop_proof") if *call == Call::Prove => Reply::Refused,
        (status, error) => Reply::Nonsense(format!("{status} {error}")),
    };
    Heard::Reply(reply)
}

/// The place of a token among those that a client has been given.
fn place(tokens: &mut Vec<String>, token: String) -> Token {
    tokens.iter().position(|known| *known == token).unwrap_or_else(|| {
        tokens.push(token);
        tokens.len() - 1
    })
}

/// Which key signed the access token of an answer.
fn signer(answer: &Answer) -> Option<String> {
    let header = answer.body["access_token"].as_str()?.split('.').next()?;
    let header: Value = serde_json::from_slice(&from_base64url(header)?).ok()?;
    header["kid"].as_str().map(str::to_owned)
}
