//! What outlives a configuration: the state of an installation, what it remembers, and the keys it makes everything from.

use std::sync::Arc;
use std::time::Duration;

use super::serving::Serving;
use super::{AppError, Seams, gauges};
use crate::authz::UpstreamKeys;
use crate::cache::{DEFAULT_PROOF_KEYS, DEFAULT_TOKENS, KnownProofKeys, Tokens};
use crate::clock::Clock;
use crate::config;
use crate::courier::{Courier, Round, courier};
use crate::current::Current;
use crate::dpop::{Fence, ProofKeys};
use crate::entropy::Entropy;
use crate::fetch::Roots;
use crate::identity::{Login, People};
use crate::issuers::{Asked, ListsLookedAfter, LookedAfter, QuestionLimits, Questions};
use crate::jose::{Algorithm, SigningKey};
use crate::keys::{KeysError, SigningKeys};
use crate::oauth::{LogoutNotices, Tally};
use crate::replay::{LocalReplayGuard, RedisReplayGuard, ReplayGuard};
use crate::secret::rotation::{RotatingSecret, Term};
use crate::secret::seal::RootKey;
use crate::store::{Endings, LastAlive, RecordedTokens, Store};
use crate::telemetry::{CountedGuard, CountedStore, Feed, Metrics, Standing, Traces};

/// What outlives a configuration.
pub(super) struct Foundation {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    /// There if this process issues.
    pub(super) state: Option<State>,
    pub(super) guard: Arc<dyn ReplayGuard>,
    /// The fence of a guard that begins with this life.
    fence: Fence,
    /// What nonces are made under.
    pub(super) secrets: RotatingSecret,
    /// What they are made under by a gate without a store that shares no keys with others: made for this life.
    own_secret: RootKey,
    pub(super) proof_keys: Arc<dyn ProofKeys>,
    /// What tokens for upstreams are signed with where the configuration names no key: without a store, made for this life.
    pub(super) upstream_keys: UpstreamKeys,
    /// What clients have tried: a new configuration forgives nobody.
    pub(super) tally: Arc<Tally>,
    /// The tokens that the gate has verified under the configuration in force.
    pub(super) tokens: Arc<Current<Tokens>>,
    /// The keys of others that the configuration in force names.
    pub(super) issuers: LookedAfter,
    /// The status lists that are looked after.
    pub(super) lists: ListsLookedAfter,
    /// Who is asked about opaque tokens, by issuer.
    pub(super) questions: Asked,
    /// Those of them without which the gate can judge no token of theirs.
    pub(super) needed: LookedAfter,
    /// What tests put in the place of the configured login.
    pub(super) people: Option<(Login, Arc<dyn People>)>,
    pub(super) metrics: Arc<Metrics>,
    /// Where spans go.
    pub(super) traces: Option<Arc<Traces>>,
    /// Which configuration is in force.
    pub(super) standing: Arc<Standing>,
    /// Where the events for auditors are heard.
    pub(super) feed: Feed,
    /// Whose certificates count where others are asked.
    pub(super) roots: Roots,
}

/// The state of an authorization server.
#[derive(Clone)]
pub(super) struct State {
    pub(super) store: Arc<dyn Store>,
    pub(super) keys: Arc<SigningKeys>,
    /// What has ended, as far as a gate beside it knows.
    pub(super) endings: Arc<Endings>,
    /// Who knows what handles stand for.
    pub(super) handles: Arc<Questions>,
    /// Who takes logout tokens to clients.
    pub(super) notices: Arc<dyn LogoutNotices>,
}

/// What is needed to lay a foundation.
pub(super) struct Opening {
    /// That of the configuration.
    pub(super) digest: [u8; 32],
    /// There if this process issues, and `signing` with it.
    pub(super) store: Option<Arc<dyn Store>>,
    pub(super) signing: Option<config::Signing>,
    pub(super) replay: config::Replay,
    /// How far clocks of clients may be ahead of ours.
    pub(super) skew: Duration,
    /// How long access tokens may outlive what they belong to, whatever comes to be configured.
    pub(super) kept: Duration,
    /// How old what is known of revocations may be, where others revoke too.
    pub(super) stale: Option<Duration>,
    /// Whose certificates count.
    pub(super) roots: Roots,
}

impl Foundation {
    /// Reads the keys, reaches for the replay guard, and notes that a life begins. The round of the courier is there if this
    /// process issues.
    pub(super) async fn open(opening: Opening, mut seams: Seams) -> Result<(Self, Option<Round>), AppError> {
        let Opening { digest, store, signing, replay, skew, kept, stale, roots } = opening;
        let (clock, entropy) = (seams.clock, seams.entropy);
        let now = clock.now();
        let mut metrics = Metrics::new();
        let guard = replay_guard(replay, seams.guard.take(), (&clock, &*entropy)).await?;
        let guard: Arc<dyn ReplayGuard> = Arc::new(CountedGuard::new(guard, metrics.replay.clone()));
        gauges::of_process(&mut metrics, &guard, &*clock);
        let standing = Arc::new(metrics.standing(digest, now));
        gauges::of_configuration(&mut metrics, &standing);
        let issuers = LookedAfter::default();
        gauges::of_issuers(&mut metrics, &issuers, &clock);
        let lists = ListsLookedAfter::default();
        gauges::of_status_lists(&mut metrics, &lists, &clock);
        let own_secret = RootKey::from_bytes(entropy.draw());
        let questions = Asked::default();
        gauges::of_questions(&mut metrics, &questions);
        let (state, round, fence, secrets) = match store.zip(signing) {
            None => (None, None, Fence::without_store(now, skew), own_secret.clone().into()),
            Some((store, config::Signing { schedule, encryption_key })) => {
                let store: Arc<dyn Store> = Arc::new(CountedStore::new(store, metrics.store.clone()));
                let seen_until = store.last_alive().await?.map(|last| last.proofs_until(now, skew));
                store.note_alive(LastAlive { at: now, stopped: false }).await?;
                let kek = encryption_key.unwrap_or_else(|| RootKey::from_bytes(entropy.draw()).into());
                let opened = SigningKeys::open(Arc::clone(&store), kek, schedule, Arc::clone(&entropy), now).await?;
                let keys = Arc::new(opened);
                let secrets = keys.secrets().clone();
                let endings = Arc::new(stale.map_or_else(|| Endings::new(kept), |stale| Endings::shared(kept, stale)));
                endings.read(&*store, now).await?;
                gauges::of_keys(&mut metrics, &keys, &clock);
                gauges::of_endings(&mut metrics, &endings, &clock);
                let (courier, round): (Courier, Round) = courier(&roots)?;
                let handles = RecordedTokens(Arc::clone(&store));
                let handles = Arc::new(Questions::new(Arc::new(handles), QuestionLimits::of_store()));
                let state = State { store, keys, endings, handles, notices: Arc::new(courier) };
                (Some(state), Some(round), Fence::after(seen_until, now), secrets)
            }
        };
        let tokens = no_tokens(&clock, &metrics);
        let upstream_keys = if let Some(State { keys, .. }) = &state {
            UpstreamKeys { signers: keys.upstream().clone(), keep_for: keys.keep_for() }
        } else {
            let key = SigningKey::generate(Algorithm::Es256).map_err(|_| KeysError::NotMade)?;
            UpstreamKeys::always(Arc::new(key), Vec::new())
        };
        let foundation = Self {
            upstream_keys,
            clock,
            entropy,
            state,
            guard,
            fence,
            secrets,
            own_secret,
            proof_keys: Arc::new(KnownProofKeys::new(DEFAULT_PROOF_KEYS)),
            tally: Arc::default(),
            tokens: Arc::new(Current::new(Arc::new(tokens))),
            issuers,
            lists,
            questions,
            needed: LookedAfter::default(),
            people: seams.people.take(),
            metrics: Arc::new(metrics),
            traces: seams.traces.take(),
            standing,
            feed: seams.feed,
            roots,
        };
        Ok((foundation, round))
    }

    /// What keeps out proofs that the guard may have forgotten.
    pub(super) fn fence(&self, skew: Duration) -> Fence {
        if self.guard.is_shared() { Fence::shared(Arc::clone(&self.guard), skew) } else { self.fence.clone() }
    }

    /// A cache of verified tokens in which nothing is yet.
    pub(super) fn no_tokens(&self) -> Tokens {
        no_tokens(&self.clock, &self.metrics)
    }

    /// Keeps what this configuration needs, from now on.
    pub(super) fn follow(&self, serving: &Serving) {
        self.tokens.replace(Arc::clone(&serving.tokens));
        self.issuers.replace(Arc::new(serving.issuers()));
        self.lists.replace(Arc::new(serving.lists()));
        self.questions.replace(Arc::new(serving.questions(self.state.as_ref())));
        self.needed.replace(Arc::new(serving.needed()));
        if self.state.is_none() {
            let shared = serving.nonce_keys();
            let keys = if shared.is_empty() { std::slice::from_ref(&self.own_secret) } else { shared };
            self.secrets.replace(keys.iter().rev().cloned().map(Term::always).collect());
        }
    }
}

fn no_tokens(clock: &Arc<dyn Clock>, metrics: &Metrics) -> Tokens {
    Tokens::new(DEFAULT_TOKENS, Arc::clone(clock)).counted_by(metrics.tokens.clone())
}

/// Where used proofs are remembered.
async fn replay_guard(
    replay: config::Replay,
    instead: Option<Arc<dyn ReplayGuard>>,
    (clock, entropy): (&Arc<dyn Clock>, &dyn Entropy),
) -> Result<Arc<dyn ReplayGuard>, AppError> {
    Ok(match (instead, replay) {
        (Some(guard), _) => guard,
        (None, config::Replay::Local { entries }) => Arc::new(LocalReplayGuard::new(entries)),
        (None, config::Replay::Redis(settings)) => {
            Arc::new(RedisReplayGuard::start(settings, Arc::clone(clock), entropy).await?)
        }
    })
}
