//! Reads what clients asked of one thing, and what they were answered, and says whether any server that keeps its promises
//! could have answered so.
//!
//! It knows nothing of how Tollgate works, but what a code, a device or a key promises. Every state that the thing may be
//! in is followed: a call that was answered leaves those that explain the answer; one that was not has happened, or not;
//! those that were sent at once have happened in any order. If no state is left, a promise was broken.

use std::collections::BTreeSet;

/// A refresh token, by its place among those that its client was given.
pub type Token = usize;

/// What somebody asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Call {
    /// Tokens for an authorization code.
    Redeem,
    /// Tokens for a device code.
    Poll,
    /// Tokens for a refresh token.
    Refresh(Token),
    /// The end of the grant that a refresh token belongs to.
    Revoke(Token),
    /// A person lets the device in.
    Approve,
    /// A person turns the device away.
    Decline,
    /// A person opens the pushed request, and does not answer yet.
    Open,
    /// A person answers the pushed request; or a client shows its assertion.
    Spend,
    /// A client shows a proof. After a restart any may be refused, lest one of those before it passes again.
    Prove,
    /// A person comes back who has signed in.
    Return,
    /// A new signing key is announced.
    Rotate,
    /// A new signing key takes the place of all others.
    Replace,
    /// The key set, by a server that has just started.
    ReadKeys,
    /// By which key such a server signs.
    Sign,
}

/// What somebody was answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// Tokens; which refresh token.
    Token(Token),
    /// Nobody has decided.
    Pending,
    /// Somebody has said no.
    Declined,
    /// It is done.
    Done,
    /// No: there is no such thing, or not any more.
    Refused,
    /// Keys, by name.
    Keys(BTreeSet<String>),
    /// What no server in order says.
    Nonsense(String),
}

/// Calls that were sent at once, each with its answer, if there was one.
pub type Step = Vec<(Call, Option<Reply>)>;

/// Where a thing stands.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// A device that nobody has decided about, or what is good once and not used yet.
    Waiting,
    /// A code, a device that was let in, a session.
    Good,
    /// A device that was turned away.
    Declined,
    /// A grant, with its refresh tokens from the first to the current one; those that nobody was told are `None`.
    Granted(Vec<Option<Token>>),
    /// It was used, or has ended.
    Over,
    /// The signing keys: those whose names are known, and how many there are beside them.
    Keys(BTreeSet<String>, usize),
}

impl State {
    /// The keys of an installation that is about to start for the first time.
    pub fn first_key() -> Self {
        Self::Keys(BTreeSet::new(), 1)
    }

    /// What it is after a call, if it may answer so. Without an answer the call has happened, and nobody was told.
    fn after(&self, call: &Call, reply: Option<&Reply>) -> Option<Self> {
        use Call as C;
        use State as S;
        let (next, answer) = match (self, call) {
            (S::Good, C::Redeem | C::Poll) => return first_token(reply),
            (S::Granted(chain), C::Refresh(token)) => return refreshed(chain, *token, reply),
            (S::Keys(known, unknown), C::Rotate) => return keys(known, unknown + 1, reply),
            (S::Keys(..), C::Replace) => return keys(&BTreeSet::new(), 1, reply),
            (S::Keys(known, unknown), C::ReadKeys) => return keys(known, *unknown, reply),
            (S::Keys(known, _), C::Sign) => match reply {
                Some(Reply::Keys(signer)) if !signer.is_subset(known) => return None,
                Some(Reply::Keys(_)) | None => return Some(self.clone()),
                Some(_) => return None,
            },

            // A code that comes twice ends its grant (RFC 6749 §4.1.2); a device code does not.
            (S::Granted(_) | S::Over, C::Redeem) | (S::Over, C::Refresh(_) | C::Open | C::Spend | C::Prove) => {
                (S::Over, Reply::Refused)
            }
            (S::Waiting, C::Poll) => (S::Waiting, Reply::Pending),
            (S::Declined, C::Poll) => (S::Declined, Reply::Declined),
            (S::Waiting, C::Approve) | (S::Good, C::Return) => (S::Good, Reply::Done),
            (S::Waiting, C::Decline) => (S::Declined, Reply::Done),
            (_, C::Approve | C::Decline) | (S::Granted(_) | S::Over, C::Poll) => (self.clone(), Reply::Refused),
            // Whatever the token is, the answer is the same (RFC 7009 §2.2).
            (S::Granted(chain), C::Revoke(token)) if chain.contains(&Some(*token)) => (S::Over, Reply::Done),
            (_, C::Revoke(_)) => (self.clone(), Reply::Done),
            (S::Waiting, C::Open) => (S::Waiting, Reply::Done),
            (S::Waiting, C::Prove) if reply == Some(&Reply::Refused) => (S::Waiting, Reply::Refused),
            (S::Waiting, C::Spend | C::Prove) => (S::Over, Reply::Done),
            _ => return None,
        };
        reply.is_none_or(|reply| *reply == answer).then_some(next)
    }
}

/// The first token of a grant.
fn first_token(reply: Option<&Reply>) -> Option<State> {
    match reply {
        Some(Reply::Token(token)) => Some(State::Granted(vec![Some(*token)])),
        None => Some(State::Granted(vec![None])),
        Some(_) => None,
    }
}

/// What a refresh makes of a grant: the current token gives a new one; the one before it gives the current one, every
/// time; an older one ends everything.
fn refreshed(chain: &[Option<Token>], token: Token, reply: Option<&Reply>) -> Option<State> {
    let from_the_end = chain.iter().rev().position(|each| *each == Some(token))?;
    let mut chain = chain.to_vec();
    match (from_the_end, reply) {
        (0, None) => chain.push(None),
        (0, Some(Reply::Token(new))) if !chain.contains(&Some(*new)) => chain.push(Some(*new)),
        (1, None) => {}
        (1, Some(Reply::Token(current))) => match chain.last()? {
            Some(known) if known == current => {}
            None if !chain.contains(&Some(*current)) => *chain.last_mut()? = Some(*current),
            Some(_) | None => return None,
        },
        (2.., None | Some(Reply::Refused)) => return Some(State::Over),
        (_, Some(_)) => return None,
    }
    Some(State::Granted(chain))
}

/// Keys of which `unknown` are new: all that were known must be in the answer, and no others.
fn keys(known: &BTreeSet<String>, unknown: usize, reply: Option<&Reply>) -> Option<State> {
    match reply {
        None => Some(State::Keys(known.clone(), unknown)),
        Some(Reply::Keys(set)) if known.is_subset(set) && set.len() == known.len() + unknown => {
            Some(State::Keys(set.clone(), 0))
        }
        Some(_) => None,
    }
}

/// What happened to one thing, in order.
#[derive(Clone, Debug)]
pub struct History {
    /// What it is, for who reads of a failure.
    pub what: &'static str,
    first: State,
    steps: Vec<Step>,
}

impl History {
    /// The history of a thing that is just there.
    pub fn of(what: &'static str, first: State) -> Self {
        Self { what, first, steps: Vec::new() }
    }

    /// Notes what was sent at once, and what came back.
    pub fn note(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Every state that the thing may be in now.
    ///
    /// # Errors
    /// The number of the first step that no state explains.
    pub fn states(&self) -> Result<BTreeSet<State>, usize> {
        let mut states = BTreeSet::from([self.first.clone()]);
        for (number, step) in self.steps.iter().enumerate() {
            states = after_all(&states, step);
            if states.is_empty() {
                return Err(number);
            }
        }
        Ok(states)
    }

    /// How many calls there were, and how many of them without an answer.
    pub fn calls(&self) -> (usize, usize) {
        let calls = self.steps.iter().flatten();
        (calls.clone().count(), calls.filter(|(_, reply)| reply.is_none()).count())
    }

    /// Whether nothing is left to ask of it.
    pub fn is_over(&self) -> bool {
        self.states().is_ok_and(|states| states.iter().all(|state| *state == State::Over))
    }

    /// Fails if a promise was broken.
    ///
    /// # Errors
    /// What happened, up to where that shows.
    pub fn check(&self) -> Result<(), String> {
        let Err(number) = self.states() else { return Ok(()) };
        let told: Vec<_> = self.steps.iter().take(number + 1).map(|step| format!("{step:?}")).collect();
        Err(format!("{}: nothing explains the last of these answers:\n  {}", self.what, told.join("\n  ")))
    }
}

/// What may be after calls that were sent at once: each order of them, and each choice of what has happened of those
/// without an answer.
fn after_all(states: &BTreeSet<State>, calls: &[(Call, Option<Reply>)]) -> BTreeSet<State> {
    if calls.is_empty() {
        return states.clone();
    }
    let mut found = BTreeSet::new();
    for first in 0..calls.len() {
        let (call, reply) = &calls[first];
        let mut next: BTreeSet<_> = states.iter().filter_map(|state| state.after(call, reply.as_ref())).collect();
        if reply.is_none() {
            next.extend(states.iter().cloned());
        }
        let rest: Vec<_> = [&calls[..first], &calls[first + 1..]].concat();
        found.extend(after_all(&next, &rest));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::Call::{
        Approve, Decline, Open, Poll, Prove, ReadKeys, Redeem, Refresh, Replace, Return, Revoke, Rotate,
    };
    use super::Call::{Sign, Spend};
    use super::Reply::{Done, Pending, Refused, Token};
    use super::{Call, History, Reply, State, Step};

    fn one(call: Call, reply: Reply) -> Step {
        vec![(call, Some(reply))]
    }

    fn lost(call: Call) -> Step {
        vec![(call, None)]
    }

    fn set(names: &[&str]) -> Reply {
        Reply::Keys(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn holds(first: State, steps: impl IntoIterator<Item = Step>) -> bool {
        let mut history = History::of("a thing", first);
        steps.into_iter().for_each(|step| history.note(step));
        history.check().is_ok()
    }

    #[test]
    fn what_keeps_its_promises_passes() {
        use State::{Good, Waiting};
        assert!(holds(Good, [one(Redeem, Token(0)), one(Refresh(0), Token(1)), one(Refresh(0), Token(1))]));
        assert!(holds(Good, [lost(Redeem), one(Redeem, Token(0)), one(Redeem, Refused), one(Refresh(0), Refused)]));
        assert!(holds(Good, [lost(Redeem), one(Redeem, Refused)]), "it was spent, and nobody was told");
        assert!(holds(Good, [one(Redeem, Token(0)), lost(Refresh(0)), one(Refresh(0), Token(1))]));
        assert!(holds(Good, [one(Redeem, Token(0)), lost(Revoke(0)), one(Refresh(0), Token(1))]));
        assert!(holds(Good, [one(Redeem, Token(0)), lost(Revoke(0)), one(Refresh(0), Refused)]));
        assert!(holds(Waiting, [one(Poll, Pending), lost(Approve), one(Poll, Pending), one(Approve, Done)]));
        assert!(holds(Waiting, [lost(Approve), one(Poll, Token(0)), one(Poll, Refused), one(Refresh(0), Token(1))]));
        assert!(holds(Waiting, [one(Decline, Done), one(Poll, Reply::Declined)]));
        assert!(holds(Waiting, [one(Open, Done), lost(Spend), one(Open, Done), one(Spend, Done), one(Spend, Refused)]));
        assert!(holds(Waiting, [one(Prove, Refused), one(Prove, Done), one(Prove, Refused)]));
        let at_once = vec![(Redeem, Some(Refused)), (Redeem, Some(Token(0)))];
        assert!(holds(Good, [at_once, one(Refresh(0), Refused)]));
        let at_once = vec![(Refresh(0), Some(Token(1))), (Refresh(0), Some(Token(1))), (Revoke(0), None)];
        assert!(holds(Good, [one(Redeem, Token(0)), at_once, one(Refresh(1), Token(2))]));
        let first = one(ReadKeys, set(&["a"]));
        assert!(holds(State::first_key(), [first.clone(), lost(Rotate), one(ReadKeys, set(&["a"]))]));
        assert!(holds(State::first_key(), [first.clone(), lost(Rotate), one(ReadKeys, set(&["a", "b"]))]));
        assert!(holds(State::first_key(), [first, lost(Replace), one(ReadKeys, set(&["b"])), one(Sign, set(&["b"]))]));
    }

    #[test]
    fn what_was_given_and_is_lost_is_noticed() {
        use State::{Good, Waiting};
        assert!(!holds(Good, [one(Redeem, Refused)]), "a code");
        assert!(!holds(Good, [one(Redeem, Token(0)), one(Refresh(0), Refused)]), "a first refresh token");
        assert!(!holds(Good, [one(Redeem, Token(0)), one(Refresh(0), Token(1)), one(Refresh(1), Refused)]), "a second");
        assert!(!holds(Good, [one(Redeem, Token(0)), one(Refresh(0), Token(1)), one(Refresh(0), Token(2))]), "a move");
        assert!(!holds(Good, [one(Return, Refused)]), "a session");
        assert!(!holds(Waiting, [one(Poll, Refused)]), "a device");
        assert!(!holds(Waiting, [one(Approve, Done), one(Poll, Pending)]), "a decision");
        assert!(!holds(Waiting, [one(Open, Refused)]), "a pushed request");
        let keys = [one(ReadKeys, set(&["a"])), one(Rotate, set(&["a", "b"])), one(ReadKeys, set(&["a"]))];
        assert!(!holds(State::first_key(), keys), "a key");
        let keys = [one(ReadKeys, set(&["a"])), one(ReadKeys, set(&["b"]))];
        assert!(!holds(State::first_key(), keys), "an identity");
    }

    #[test]
    fn what_was_spent_and_is_good_again_is_noticed() {
        use State::{Good, Waiting};
        assert!(!holds(Good, [one(Redeem, Token(0)), one(Redeem, Token(1))]), "a code");
        assert!(!holds(Good, [vec![(Redeem, Some(Token(0))), (Redeem, Some(Token(1)))]]), "a code, at once");
        assert!(!holds(Waiting, [one(Approve, Done), one(Poll, Token(0)), one(Poll, Token(1))]), "a device code");
        assert!(!holds(Waiting, [one(Spend, Done), one(Spend, Done)]), "an assertion");
        assert!(!holds(Waiting, [one(Spend, Done), one(Open, Done)]), "a pushed request");
        assert!(!holds(Waiting, [vec![(Spend, Some(Done)), (Spend, Some(Done))]]), "one, at once");
        assert!(!holds(Waiting, [one(Prove, Done), one(Prove, Done)]), "a proof");
        assert!(!holds(Good, [lost(Redeem), one(Redeem, Token(0)), one(Redeem, Token(1))]), "one without an answer");
        let forked = [one(Refresh(0), Token(1)), one(Refresh(1), Token(2)), one(Refresh(0), Token(3))];
        assert!(!holds(Good, [vec![one(Redeem, Token(0))], forked.to_vec()].concat()), "an old refresh token");
    }

    #[test]
    fn what_has_ended_and_lives_again_is_noticed() {
        use State::{Good, Waiting};
        assert!(!holds(Good, [one(Redeem, Token(0)), one(Revoke(0), Done), one(Refresh(0), Token(1))]));
        assert!(!holds(Good, [one(Redeem, Token(0)), one(Redeem, Refused), one(Refresh(0), Token(1))]));
        assert!(!holds(Waiting, [one(Decline, Done), one(Poll, Token(0))]));
        assert!(!holds(Waiting, [one(Decline, Done), one(Approve, Done)]));
        let replaced = [one(ReadKeys, set(&["a"])), one(Replace, set(&["b"]))];
        assert!(!holds(State::first_key(), [replaced.to_vec(), vec![one(ReadKeys, set(&["a", "b"]))]].concat()));
        assert!(!holds(State::first_key(), [replaced.to_vec(), vec![one(Sign, set(&["a"]))]].concat()));
    }

    #[test]
    fn an_unknown_outcome_is_one_or_the_other_and_stays_so() {
        use State::{Good, Waiting};
        let began = one(Redeem, Token(0));
        assert!(!holds(Good, [began.clone(), lost(Revoke(0)), one(Refresh(0), Refused), one(Refresh(0), Token(1))]));
        assert!(!holds(Good, [began, lost(Revoke(0)), one(Refresh(0), Token(1)), one(Refresh(1), Refused)]));
        assert!(!holds(Waiting, [lost(Approve), one(Poll, Token(0)), one(Poll, Pending)]));
        assert!(!holds(Waiting, [lost(Approve), one(Poll, Pending), one(Poll, Token(0))]));
        let some = [one(ReadKeys, set(&["a"])), lost(Replace), one(ReadKeys, set(&["a", "b"]))];
        assert!(!holds(State::first_key(), some), "half of a rotation");
        let nonsense = Reply::Nonsense("500".to_owned());
        assert!(!holds(Waiting, [one(Poll, nonsense)]));
    }
}
