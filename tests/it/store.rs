//! What every store must do: one suite over all of them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::sync::Barrier;
use tollgate::clock::Timestamp;
use tollgate::ident::Subject;
use tollgate::jose::{Algorithm, Thumbprint};
use tollgate::replay::{ReplayKey, Seen};
use tollgate::secret::{
    AccessTokenKind, BrowserKind, ClientSecretHash, CodeKind, DeviceCodeKind, Digest, RequestUriKind, SessionKind,
    UserCodeKind,
};
use tollgate::store::{
    AccessTokenRecord, Begun, ClientRecord, CodeRecord, Decision, DeviceRecord, Ended, EndedBy, Grant, GrantHandle,
    GrantOrigin, GrantQuery, KeyRecord, LastAlive, Limits, MemoryStore, OpenError, Pace, PersonRecord, Polled,
    Previous, Pushed, PushedRequest, Recorded, Redeemed, RefreshState, Rescheduled, Rotated, Rotation, STATUS_BLOCK,
    SenderConstraint, SessionClient, SessionId, SessionRecord, SomeEnded, SqliteStore, Store, TokenName, TransactionId,
    Unavailable,
};
use tollgate::token::{AuthorizationDetails, RequestedClaims};

use crate::cluster;

/// So many callers at once.
const CALLERS: u64 = 64;

/// A store, with the directory that it lives in, if it has one of its own.
struct Fixture {
    store: Arc<dyn Store>,
    _directory: Option<TempDir>,
}

fn memory(limits: Limits) -> Fixture {
    Fixture { store: Arc::new(MemoryStore::new(limits)), _directory: None }
}

fn sqlite(limits: Limits) -> Fixture {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), limits);
    Fixture { store, _directory: Some(directory) }
}

async fn postgres(limits: Limits) -> Fixture {
    Fixture { store: Arc::new(cluster::store(limits).await.0), _directory: None }
}

fn open(directory: &Path, limits: Limits) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(&directory.join("tollgate.db"), limits).expect("a store"))
}

/// Runs each case over each store. A case is given the maker of stores.
macro_rules! conformance {
    ($($case:ident)*) => {
        mod memory_store {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                super::$case(super::memory).await;
            })*
        }

        mod sqlite_store {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                super::$case(super::sqlite).await;
            })*
        }

        mod postgres_store {
            use tokio::runtime::Handle;
            use tokio::task::block_in_place;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                let make = |limits| block_in_place(|| Handle::current().block_on(super::postgres(limits)));
                super::$case(make).await;
            })*
        }
    };
}

conformance! {
    a_code_is_read_as_it_was_recorded
    a_transaction_gives_one_code
    a_transaction_whose_code_expired_gives_no_other
    a_code_is_spent_once
    a_code_is_over_when_its_time_has_come
    a_spent_code_is_a_replay_even_after_its_time
    of_many_redemptions_at_once_one_is_first
    of_many_consents_at_once_one_is_first
    a_grant_is_read_as_it_was_recorded
    a_rotation_moves_the_tokens_on
    a_rotation_binds_the_grant
    a_rotation_needs_the_grant_as_it_was_read
    of_many_rotations_at_once_one_moves
    a_grant_that_ended_does_not_move
    a_rotation_and_an_end_at_once_leave_the_grant_ended
    the_idle_limit_slides_until_the_end
    the_first_end_counts
    a_code_is_taken_once
    a_pushed_request_is_read_as_it_was_recorded
    a_pushed_request_is_answered_once
    a_transaction_that_ended_gives_no_code
    of_many_answers_to_a_pushed_request_at_once_one_counts
    a_pushed_request_stays_unanswered_when_there_is_no_room_for_its_code
    a_client_has_so_many_pushed_requests_that_wait
    a_pushed_request_is_kept_while_it_may_be_answered
    a_device_is_read_as_it_was_recorded
    a_user_code_names_one_device
    a_poll_counts_for_its_own_client_while_nobody_has_decided
    a_device_belongs_to_the_browser_that_claimed_it
    the_first_decision_counts
    an_approved_device_is_redeemed_once
    of_many_claims_decisions_and_redemptions_at_once_one_counts
    a_device_is_over_when_its_time_has_come
    an_assertion_is_spent_once
    a_token_that_was_revoked_stays_revoked
    a_block_of_places_is_leased_to_one_and_again_when_its_lease_is_over
    a_crowded_block_gives_way_to_a_new_one
    what_has_ended_is_told_by_when
    an_access_token_is_found_by_its_handle_until_it_is_over
    an_assertion_may_come_again_after_its_time
    of_many_assertions_at_once_one_is_first
    a_session_lasts_until_its_end
    all_sessions_of_a_person_end
    a_client_is_told_once_that_a_session_is_over
    of_many_ends_of_a_session_at_once_one_tells_its_clients
    the_live_grants_of_a_person_are_listed
    live_grants_are_listed_page_by_page
    all_grants_of_a_client_end
    very_many_grants_of_a_client_end
    grants_end_step_by_step_for_who_has_little_time
    the_sessions_of_a_person_are_listed
    pending_devices_are_listed_and_turned_away_once
    registered_clients_are_listed_by_name
    all_grants_of_a_person_end
    a_session_that_nobody_uses_ends
    a_person_is_remembered_as_last_seen
    a_person_who_is_disabled_stays_so
    people_are_forgotten_when_nothing_needs_them
    a_client_is_read_as_it_was_registered
    a_client_is_deleted_once_and_its_grants_end_with_it
    a_client_that_nobody_has_let_in_is_forgotten
    signing_keys_are_kept_by_generation
    of_many_keys_of_one_generation_one_is_added
    a_key_that_was_withdrawn_meanwhile_stays_so
    a_key_is_rescheduled_as_it_was_read
    a_key_is_sealed_anew_as_it_was_read
    the_root_key_is_sealed_anew_as_it_was_read
    the_first_root_key_stays
    the_last_sign_of_life_is_kept
    a_full_store_turns_new_records_away
    a_code_is_not_spent_when_there_is_no_room_for_its_grant
    of_very_many_grants_of_a_person_at_a_client_the_oldest_end
    what_is_over_or_of_others_does_not_count_for_a_person
    of_many_grants_of_a_person_at_once_no_more_live_than_may
    a_device_counts_among_the_grants_of_a_person
    what_is_over_is_swept_in_small_steps
    what_lives_is_not_swept
    sweeping_makes_room
    a_backlog_of_one_kind_keeps_no_other_waiting
}

const SPENT: Result<Recorded, Unavailable> = Ok(Recorded::TransactionSpent);

type Make = fn(Limits) -> Fixture;

async fn a_code_is_read_as_it_was_recorded(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let bare = code(1);
    let details = r#"[{"amount":{"é":1.5},"type":"payment"}]"#.parse().expect("details");
    let claims = "id_token.name userinfo.email".parse().expect("claims");
    let bound = CodeRecord {
        dpop_jkt: Some(Thumbprint::from_bytes([9; 32])),
        details,
        claims,
        session: Some(SessionId([4; 16])),
        challenge: None,
        ..code(2)
    };
    for code in [&bare, &bound] {
        assert_eq!(store.record_code(code).await, Ok(Recorded::First));
        assert_eq!(store.code(code.digest).await, Ok(Some(code.clone())));
    }
    assert_eq!(store.code(Digest::from_bytes([0; 32])).await, Ok(None));
}

async fn a_transaction_gives_one_code(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let first = code(1);
    let second = CodeRecord { digest: code(2).digest, ..first.clone() };
    assert_eq!(store.record_code(&first).await, Ok(Recorded::First));
    assert_eq!(store.record_code(&second).await, Ok(Recorded::TransactionSpent));
    assert_eq!(store.code(second.digest).await, Ok(None));
}

async fn a_transaction_whose_code_expired_gives_no_other(make: Make) {
    let limits = Limits::default();
    let Fixture { store, _directory } = make(limits);
    let first = code(1);
    let second = CodeRecord { digest: code(2).digest, ..first.clone() };
    assert_eq!(store.record_code(&first).await, Ok(Recorded::First));
    assert_eq!(store.sweep(first.expires_at + limits.kept, 100).await, Ok(0));
    assert_eq!(store.record_code(&second).await, Ok(Recorded::TransactionSpent));
}

async fn a_code_is_spent_once(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let code = code(1);
    assert_eq!(store.redeem_code(code.digest, &grant(1), now()).await, Ok(Redeemed::Unknown));
    assert_eq!(store.record_code(&code).await, Ok(Recorded::First));
    assert_eq!(store.redeem_code(code.digest, &grant(1), now()).await, Ok(Redeemed::First));
    assert_eq!(store.redeem_code(code.digest, &grant(2), now()).await, Ok(Redeemed::Replayed(grant(1).handle)));
    assert_eq!(store.grant(grant(1).handle).await, Ok(Some(grant(1))));
    assert_eq!(store.grant(grant(2).handle).await, Ok(None));
    let spent = store.code(code.digest).await.expect("an answer").expect("it is kept");
    assert_eq!(spent.spent_for, Some(grant(1).handle));
}

async fn a_code_is_over_when_its_time_has_come(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let (late, punctual) = (code(1), code(2));
    assert_eq!(store.record_code(&late).await, Ok(Recorded::First));
    assert_eq!(store.record_code(&punctual).await, Ok(Recorded::First));
    assert_eq!(store.redeem_code(late.digest, &grant(1), late.expires_at).await, Ok(Redeemed::Unknown));
    assert_eq!(store.grant(grant(1).handle).await, Ok(None));
    let last_moment = punctual.expires_at.before(Duration::from_millis(1));
    assert_eq!(store.redeem_code(punctual.digest, &grant(2), last_moment).await, Ok(Redeemed::First));
}

async fn a_spent_code_is_a_replay_even_after_its_time(make: Make) {
    let limits = Limits::default();
    let Fixture { store, _directory } = make(limits);
    let code = code(1);
    assert_eq!(store.record_code(&code).await, Ok(Recorded::First));
    assert_eq!(store.redeem_code(code.digest, &grant(1), now()).await, Ok(Redeemed::First));
    let later = code.expires_at + limits.kept;
    assert_eq!(store.sweep(later, 100).await, Ok(0));
    assert_eq!(store.redeem_code(code.digest, &grant(2), later).await, Ok(Redeemed::Replayed(grant(1).handle)));
}

async fn of_many_redemptions_at_once_one_is_first(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let code = code(1);
    assert_eq!(store.record_code(&code).await, Ok(Recorded::First));
    let answers = at_once(&store, move |store, caller| async move {
        (caller, store.redeem_code(code.digest, &grant(caller), now()).await.expect("an answer"))
    })
    .await;
    let firsts: Vec<_> = answers.iter().filter(|(_, answer)| *answer == Redeemed::First).collect();
    let [(winner, _)] = firsts.as_slice() else { panic!("{firsts:?}") };
    for (caller, answer) in &answers {
        let recorded = store.grant(grant(*caller).handle).await.expect("an answer").is_some();
        assert_eq!(recorded, caller == winner);
        assert!(caller == winner || *answer == Redeemed::Replayed(grant(*winner).handle));
    }
}

async fn of_many_consents_at_once_one_is_first(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let answers = at_once(&store, |store, caller| async move {
        let code = CodeRecord { transaction: TransactionId([1; 16]), ..code(caller) };
        store.record_code(&code).await.expect("an answer")
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| **answer == Recorded::First).count(), 1);
}

async fn a_grant_is_read_as_it_was_recorded(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let constraints =
        [SenderConstraint::None, SenderConstraint::Dpop, SenderConstraint::DpopKey(Thumbprint::from_bytes([5; 32]))];
    for (number, sender_constraint) in (1..).zip(constraints) {
        let details = r#"[{"type":"payment"}]"#.parse().expect("details");
        let (claims, session) = ("userinfo.phone_number".parse().expect("claims"), Some(SessionId([5; 16])));
        let grant = Grant { sender_constraint, details, claims, session, ..grant(number) };
        begin(&*store, &grant).await;
        assert_eq!(store.grant(grant.handle).await, Ok(Some(grant)));
    }
    assert_eq!(store.grant(GrantHandle([0; 16])).await, Ok(None));
}

async fn a_rotation_moves_the_tokens_on(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let mut grant = grant(1);
    begin(&*store, &grant).await;
    for n in 1..4 {
        let rotation = rotation(&grant, n);
        assert_eq!(store.rotate(&rotation).await, Ok(Rotated::Moved));
        let (used_at, idle_expires_at) = (rotation.used_at, rotation.idle_expires_at);
        grant = Grant { refresh: rotation.next, used_at, idle_expires_at, ..grant };
        assert_eq!(store.grant(grant.handle).await, Ok(Some(grant.clone())));
    }
    let mut largest = rotation(&grant, 4);
    largest.next.current_n = u64::MAX;
    assert_eq!(store.rotate(&largest).await, Ok(Rotated::Moved));
    let read = store.grant(grant.handle).await.expect("an answer").expect("a grant");
    assert_eq!(read.refresh.current_n, u64::MAX);
}

async fn a_rotation_binds_the_grant(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let mut grant = Grant { sender_constraint: SenderConstraint::None, ..grant(1) };
    begin(&*store, &grant).await;
    let key = SenderConstraint::DpopKey(Thumbprint::from_bytes([5; 32]));
    // The tokens may move with it, or stay as they are.
    for (n, sender_constraint, moves) in [(1, SenderConstraint::Dpop, true), (2, key, true), (3, key, false)] {
        let mut rotation = Rotation { sender_constraint, ..rotation(&grant, n) };
        if !moves {
            rotation.next = grant.refresh.clone();
        }
        assert_eq!(store.rotate(&rotation).await, Ok(Rotated::Moved));
        let (used_at, idle_expires_at) = (rotation.used_at, rotation.idle_expires_at);
        grant = Grant { refresh: rotation.next, sender_constraint, used_at, idle_expires_at, ..grant };
        assert_eq!(store.grant(grant.handle).await, Ok(Some(grant.clone())));
    }
    let overtaken = Rotation { read_n: 7, sender_constraint: SenderConstraint::None, ..rotation(&grant, 4) };
    assert_eq!(store.rotate(&overtaken).await, Ok(Rotated::Overtaken));
    assert_eq!(store.grant(grant.handle).await, Ok(Some(grant)));
}

async fn a_rotation_needs_the_grant_as_it_was_read(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let grant = grant(1);
    assert_eq!(store.rotate(&rotation(&grant, 1)).await, Ok(Rotated::Overtaken));
    begin(&*store, &grant).await;
    assert_eq!(store.rotate(&rotation(&grant, 1)).await, Ok(Rotated::Moved));
    let after = store.grant(grant.handle).await;
    assert_eq!(store.rotate(&rotation(&grant, 2)).await, Ok(Rotated::Overtaken));
    let other_hash = Rotation { read_n: 1, read_hash: [0; 32], ..rotation(&grant, 2) };
    assert_eq!(store.rotate(&other_hash).await, Ok(Rotated::Overtaken));
    assert_eq!(store.grant(grant.handle).await, after);
}

async fn of_many_rotations_at_once_one_moves(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    begin(&*store, &grant(1)).await;
    let answers = at_once(&store, |store, caller| async move {
        let rotation = rotation(&grant(1), caller);
        (rotation.next.current_hash, store.rotate(&rotation).await.expect("an answer"))
    })
    .await;
    let moved: Vec<_> = answers.iter().filter(|(_, answer)| *answer == Rotated::Moved).collect();
    let [(hash, _)] = moved.as_slice() else { panic!("{moved:?}") };
    let read = store.grant(grant(1).handle).await.expect("an answer").expect("a grant");
    assert_eq!((read.refresh.current_n, read.refresh.current_hash), (1, *hash));
}

async fn a_grant_that_ended_does_not_move(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    begin(&*store, &grant(1)).await;
    assert_eq!(store.end_grant(grant(1).handle, EndedBy::Revoked, now()).await, Ok(()));
    assert_eq!(store.rotate(&rotation(&grant(1), 1)).await, Ok(Rotated::Overtaken));
    let ended = Grant { ended: Some((now(), EndedBy::Revoked)), ..grant(1) };
    assert_eq!(store.grant(grant(1).handle).await, Ok(Some(ended)));
}

async fn a_rotation_and_an_end_at_once_leave_the_grant_ended(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    for number in 1..=32 {
        begin(&*store, &grant(number)).await;
    }
    let moves = at_once(&store, |store, caller| async move {
        let grant = grant(caller.div_ceil(2));
        if caller % 2 == 0 {
            store.end_grant(grant.handle, EndedBy::Fork, now()).await.expect("an answer");
            return None;
        }
        Some((grant.clone(), store.rotate(&rotation(&grant, caller)).await.expect("an answer")))
    })
    .await;
    for (grant, answer) in moves.into_iter().flatten() {
        let read = store.grant(grant.handle).await.expect("an answer").expect("a grant");
        assert_eq!(read.ended, Some((now(), EndedBy::Fork)));
        assert_eq!(read.refresh.current_n, u64::from(answer == Rotated::Moved));
    }
}

async fn the_idle_limit_slides_until_the_end(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let idle = async || store.grant(grant(1).handle).await.expect("an answer").map(|grant| grant.idle_expires_at);
    let [first, second] = [100, 200].map(|seconds| now() + Duration::from_secs(seconds));
    assert_eq!(store.extend_grant(grant(1).handle, first, now()).await, Ok(()));
    assert_eq!(idle().await, None);
    begin(&*store, &grant(1)).await;
    assert_eq!(store.extend_grant(grant(1).handle, first, now()).await, Ok(()));
    assert_eq!(idle().await, Some(first));
    assert_eq!(store.end_grant(grant(1).handle, EndedBy::UserDisabled, now()).await, Ok(()));
    assert_eq!(store.extend_grant(grant(1).handle, second, now()).await, Ok(()));
    assert_eq!(idle().await, Some(first));
}

async fn the_first_end_counts(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    assert_eq!(store.end_grant(grant(1).handle, EndedBy::CodeReuse, now()).await, Ok(()));
    let all = [EndedBy::Fork, EndedBy::CodeReuse, EndedBy::Revoked, EndedBy::UserDisabled, EndedBy::Superseded];
    for (number, why) in (1..).zip(all) {
        begin(&*store, &grant(number)).await;
        assert_eq!(store.end_grant(grant(number).handle, why, now()).await, Ok(()));
        assert_eq!(store.end_grant(grant(number).handle, EndedBy::Fork, now() + SECOND).await, Ok(()));
        let read = store.grant(grant(number).handle).await.expect("an answer").expect("a grant");
        assert_eq!(read.ended, Some((now(), why)));
    }
}

async fn a_code_is_taken_once(make: Make) {
    let Fixture { store, _directory } = make(Limits { codes: 1, ..Limits::default() });
    let code = code(1);
    assert_eq!(store.take_code(code.digest, now()).await, Ok(false));
    for _ in 0..2 {
        assert_eq!(store.record_code(&code).await, Ok(Recorded::First));
        assert_eq!(store.take_code(code.digest, code.expires_at).await, Ok(false));
        let answers = at_once(&store, move |store, _| async move { store.take_code(code.digest, now()).await });
        assert_eq!(answers.await.iter().filter(|answer| **answer == Ok(true)).count(), 1);
        assert_eq!(store.code(code.digest).await, Ok(None));
    }
    assert_eq!(store.record_code(&code).await, Ok(Recorded::First));
    assert_eq!(store.redeem_code(code.digest, &grant(1), now()).await, Ok(Redeemed::First));
    assert_eq!(store.take_code(code.digest, now()).await, Ok(false), "it was spent");
}

async fn a_pushed_request_is_read_as_it_was_recorded(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    assert_eq!(store.pushed_request(pushed(1).digest).await, Ok(None));
    assert_eq!(store.push_request(&pushed(1), now()).await, Ok(Pushed::First));
    assert_eq!(store.pushed_request(pushed(1).digest).await, Ok(Some(pushed(1))));
    assert_eq!(store.pushed_request(pushed(2).digest).await, Ok(None));
}

async fn a_pushed_request_is_answered_once(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    for number in 1..=3 {
        assert_eq!(store.push_request(&pushed(number), now()).await, Ok(Pushed::First));
    }
    // With a code; its time may be over by then.
    assert_eq!(store.record_code(&code(1)).await, Ok(Recorded::First));
    assert_eq!(store.record_code(&CodeRecord { transaction: code(1).transaction, ..code(11) }).await, SPENT);
    assert_eq!(store.answer_pushed_request(pushed(1).transaction).await, Ok(false));
    // With an error.
    assert_eq!(store.answer_pushed_request(pushed(2).transaction).await, Ok(true));
    assert_eq!(store.answer_pushed_request(pushed(2).transaction).await, Ok(false));
    assert_eq!(store.record_code(&code(2)).await, SPENT);
    assert_eq!(store.code(code(2).digest).await, Ok(None));
    for number in 1..=2 {
        let answered = PushedRequest { parameters: String::new(), spent: true, ..pushed(number) };
        assert_eq!(store.pushed_request(answered.digest).await, Ok(Some(answered)));
    }
    assert_eq!(store.pushed_request(pushed(3).digest).await, Ok(Some(pushed(3))), "the others wait");
    assert_eq!(store.answer_pushed_request(TransactionId(bytes(9))).await, Ok(false));
    assert_eq!(store.record_code(&code(9)).await, Ok(Recorded::First), "which nobody pushed");
}

async fn a_transaction_that_ended_gives_no_code(make: Make) {
    let Fixture { store, _directory } = make(Limits { codes: 2, ..Limits::default() });
    let soon = now() + SECOND * 10;
    assert_eq!(store.end_transaction(code(1).transaction, soon).await, Ok(Recorded::First));
    assert_eq!(store.end_transaction(code(1).transaction, soon).await, SPENT);
    assert_eq!(store.record_code(&code(1)).await, SPENT);
    assert_eq!(store.code(code(1).digest).await, Ok(None));
    // One that gave a code does not end.
    assert_eq!(store.record_code(&code(2)).await, Ok(Recorded::First));
    assert_eq!(store.end_transaction(code(2).transaction, soon).await, SPENT);
    // Its pushed request ends with it, and the other way round.
    for number in 3..=4 {
        assert_eq!(store.push_request(&pushed(number), now()).await, Ok(Pushed::First));
    }
    assert_eq!(store.end_transaction(pushed(3).transaction, soon).await, Ok(Recorded::First));
    assert_eq!(store.answer_pushed_request(pushed(3).transaction).await, Ok(false));
    assert_eq!(store.answer_pushed_request(pushed(4).transaction).await, Ok(true));
    assert_eq!(store.end_transaction(pushed(4).transaction, soon).await, SPENT);
    // What is full says so, until the time of some is over.
    let full = store.end_transaction(TransactionId(bytes(9)), soon).await;
    assert_eq!(full, Err(Unavailable::Full));
    assert_eq!(store.sweep(soon, 100).await, Ok(0));
    assert_eq!(store.sweep(soon + SECOND, 100).await, Ok(2));
    assert_eq!(store.end_transaction(TransactionId(bytes(9)), soon + SECOND * 9).await, Ok(Recorded::First));
}

async fn of_many_answers_to_a_pushed_request_at_once_one_counts(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    assert_eq!(store.push_request(&pushed(1), now()).await, Ok(Pushed::First));
    let barrier = Arc::new(Barrier::new(usize::try_from(CALLERS).expect("few")));
    let callers = (0..CALLERS).map(|number| {
        let (store, barrier) = (Arc::clone(&store), Arc::clone(&barrier));
        tokio::spawn(async move {
            barrier.wait().await;
            if number % 2 == 0 {
                return store.answer_pushed_request(pushed(1).transaction).await.expect("an answer");
            }
            let code = CodeRecord { transaction: pushed(1).transaction, ..code(100 + number) };
            store.record_code(&code).await.expect("an answer") == Recorded::First
        })
    });
    let mut counted = 0;
    for caller in callers.collect::<Vec<_>>() {
        counted += u32::from(caller.await.expect("no panic"));
    }
    assert_eq!(counted, 1);
}

async fn a_pushed_request_stays_unanswered_when_there_is_no_room_for_its_code(make: Make) {
    let Fixture { store, _directory } = make(Limits { codes: 1, ..Limits::default() });
    assert_eq!(store.record_code(&code(9)).await, Ok(Recorded::First));
    assert_eq!(store.push_request(&pushed(1), now()).await, Ok(Pushed::First));
    assert_eq!(store.record_code(&code(1)).await, Err(Unavailable::Full));
    assert_eq!(store.pushed_request(pushed(1).digest).await, Ok(Some(pushed(1))));
}

async fn a_client_has_so_many_pushed_requests_that_wait(make: Make) {
    let Fixture { store, _directory } =
        make(Limits { pushed_requests: 4, pushed_requests_per_client: 2, ..Limits::default() });
    for number in 1..=2 {
        assert_eq!(store.push_request(&pushed(number), now()).await, Ok(Pushed::First));
    }
    assert_eq!(store.push_request(&pushed(3), now()).await, Ok(Pushed::TooMany));
    assert_eq!(store.pushed_request(pushed(3).digest).await, Ok(None));
    let of_another = PushedRequest { client_id: "spa".parse().expect("a client"), ..pushed(4) };
    assert_eq!(store.push_request(&of_another, now()).await, Ok(Pushed::First));
    assert_eq!(store.answer_pushed_request(pushed(1).transaction).await, Ok(true), "which waits no longer");
    assert_eq!(store.push_request(&pushed(3), now()).await, Ok(Pushed::First));
    let over = pushed(3).expires_at;
    let late = PushedRequest { expires_at: over + SECOND * 90, ..pushed(5) };
    assert_eq!(store.push_request(&late, over.before(SECOND)).await, Ok(Pushed::TooMany));
    assert_eq!(store.push_request(&late, over).await, Err(Unavailable::Full), "two wait no longer, but are kept");
}

async fn a_pushed_request_is_kept_while_it_may_be_answered(make: Make) {
    let limits = Limits { pushed_requests: 2, ..Limits::default() };
    let Fixture { store, _directory } = make(limits);
    for number in 1..=2 {
        assert_eq!(store.push_request(&pushed(number), now()).await, Ok(Pushed::First));
    }
    assert_eq!(store.answer_pushed_request(pushed(1).transaction).await, Ok(true));
    let last = pushed(1).expires_at + limits.kept;
    assert_eq!(store.sweep(last, 100).await, Ok(0));
    assert_eq!(store.record_code(&code(1)).await, SPENT);
    assert_eq!(store.push_request(&pushed(3), last).await, Err(Unavailable::Full));
    assert_eq!(store.sweep(last + SECOND, 100).await, Ok(2));
    assert_eq!(store.pushed_request(pushed(1).digest).await, Ok(None));
    assert_eq!(store.push_request(&pushed(1), last + SECOND).await, Ok(Pushed::First));
}

async fn a_device_is_read_as_it_was_recorded(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let bound = DeviceRecord {
        dpop_jkt: Some(Thumbprint::from_bytes([9; 32])),
        address: "2001:db8::1".parse().expect("an address"),
        ..device(2)
    };
    let claimed = DeviceRecord { claimed_by: Some(browser(1)), ..device(3) };
    let approved = DeviceRecord { decision: Some(approval()), ..device(4) };
    let declined = DeviceRecord { decision: Some(Decision::Decline), ..device(5) };
    for device in [device(1), bound, claimed, approved, declined] {
        assert_eq!(store.record_device(&device).await, Ok(Begun::First));
        assert_eq!(store.device(device.digest).await, Ok(Some(device)));
    }
    assert_eq!(store.device(Digest::from_bytes([0; 32])).await, Ok(None));
}

async fn a_user_code_names_one_device(make: Make) {
    let Fixture { store, _directory } = make(Limits { devices: 2, ..Limits::default() });
    let first = device(1);
    let second = DeviceRecord { user_code: first.user_code, ..device(2) };
    assert_eq!(store.record_device(&first).await, Ok(Begun::First));
    assert_eq!(store.record_device(&second).await, Ok(Begun::UserCodeTaken));
    assert_eq!(store.device(second.digest).await, Ok(None));
    assert_eq!(store.record_device(&device(2)).await, Ok(Begun::First));
    assert_eq!(store.record_device(&device(3)).await, Err(Unavailable::Full));
    assert_eq!(store.device(device(3).digest).await, Ok(None));
    assert_eq!(store.claim_device(device(3).user_code, browser(1), now()).await, Ok(None));
}

async fn a_poll_counts_for_its_own_client_while_nobody_has_decided(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let mut device = device(1);
    let poll = async |client: &str, at: Timestamp| {
        store.poll_device(device.digest, &client.parse().expect("a client"), at).await
    };
    assert_eq!(poll("tv", now()).await, Ok(Polled::NotPending));
    assert_eq!(store.record_device(&device).await, Ok(Begun::First));
    assert_eq!(poll("spa", now()).await, Ok(Polled::NotPending));
    assert_eq!(store.device(device.digest).await, Ok(Some(device.clone())));
    for (seconds, answer) in [(0, Polled::Pending), (1, Polled::TooSoon), (11, Polled::Pending), (16, Polled::TooSoon)]
    {
        assert_eq!(poll("tv", now() + SECOND * seconds).await, Ok(answer), "{seconds}");
    }
    device.pace = Pace { interval: SECOND * 15, next_poll: now() + SECOND * 31 };
    assert_eq!(store.device(device.digest).await, Ok(Some(device.clone())));
    assert_eq!(store.poll_device(device.digest, &device.client_id, device.expires_at).await, Ok(Polled::NotPending));
    decide(&*store, &device, &Decision::Decline).await;
    let decided = store.device(device.digest).await;
    assert_eq!(store.poll_device(device.digest, &device.client_id, now()).await, Ok(Polled::NotPending));
    assert_eq!(store.device(device.digest).await, decided);
}

async fn a_device_belongs_to_the_browser_that_claimed_it(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let device = device(1);
    assert_eq!(store.claim_device(device.user_code, browser(1), now()).await, Ok(None));
    assert_eq!(store.record_device(&device).await, Ok(Begun::First));
    assert_eq!(store.decide_device(device.digest, browser(1), &approval(), now()).await, Ok(false), "not claimed");
    let claimed = DeviceRecord { claimed_by: Some(browser(1)), ..device.clone() };
    for _ in 0..2 {
        assert_eq!(store.claim_device(device.user_code, browser(1), now()).await, Ok(Some(claimed.clone())));
        assert_eq!(store.claim_device(device.user_code, browser(2), now()).await, Ok(None));
    }
    assert_eq!(store.decide_device(device.digest, browser(2), &approval(), now()).await, Ok(false));
    assert_eq!(store.device(device.digest).await, Ok(Some(claimed)));
}

async fn the_first_decision_counts(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    for (number, first, second) in [(1, approval(), Decision::Decline), (2, Decision::Decline, approval())] {
        let device = device(number);
        assert_eq!(store.record_device(&device).await, Ok(Begun::First));
        decide(&*store, &device, &first).await;
        assert_eq!(store.decide_device(device.digest, browser(1), &second, now()).await, Ok(false));
        assert_eq!(store.claim_device(device.user_code, browser(1), now()).await, Ok(None));
        let read = store.device(device.digest).await.expect("an answer").expect("a device");
        assert_eq!(read.decision, Some(first));
    }
}

async fn an_approved_device_is_redeemed_once(make: Make) {
    let Fixture { store, _directory } = make(Limits { devices: 2, grants: 1, ..Limits::default() });
    let (approved, declined) = (device(1), device(2));
    for device in [&approved, &declined] {
        assert_eq!(store.record_device(device).await, Ok(Begun::First));
        assert_eq!(store.redeem_device(device.digest, &grant(1), now()).await, Ok(false), "nobody has decided");
    }
    decide(&*store, &declined, &Decision::Decline).await;
    assert_eq!(store.redeem_device(declined.digest, &grant(1), now()).await, Ok(false));
    decide(&*store, &approved, &approval()).await;
    assert_eq!(store.redeem_device(approved.digest, &grant(1), approved.expires_at).await, Ok(false));
    assert_eq!(store.grant(grant(1).handle).await, Ok(None));
    assert_eq!(store.redeem_device(approved.digest, &grant(1), now()).await, Ok(true));
    assert_eq!(store.redeem_device(approved.digest, &grant(2), now()).await, Ok(false));
    assert_eq!(store.grant(grant(1).handle).await, Ok(Some(grant(1))));
    assert_eq!(store.device(approved.digest).await, Ok(None));

    // Both of its codes may come again; and where there is no room for a grant, the device is as it was.
    assert_eq!(store.record_device(&approved).await, Ok(Begun::First));
    decide(&*store, &approved, &approval()).await;
    let before = store.device(approved.digest).await;
    assert_eq!(store.redeem_device(approved.digest, &grant(2), now()).await, Err(Unavailable::Full));
    assert_eq!(store.device(approved.digest).await, before);
}

async fn of_many_claims_decisions_and_redemptions_at_once_one_counts(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let (digest, user_code) = (device(1).digest, device(1).user_code);
    assert_eq!(store.record_device(&device(1)).await, Ok(Begun::First));
    let claims = at_once(&store, move |store, caller| async move {
        (caller, store.claim_device(user_code, browser(caller), now()).await.expect("an answer").is_some())
    });
    let claims: Vec<_> = claims.await.into_iter().filter(|(_, claimed)| *claimed).collect();
    let [(winner, _)] = claims.as_slice() else { panic!("{claims:?}") };
    let by = browser(*winner);
    let decisions = at_once(&store, move |store, _| async move {
        store.decide_device(digest, by, &approval(), now()).await.expect("an answer")
    });
    assert_eq!(decisions.await.into_iter().filter(|decided| *decided).count(), 1);
    let redemptions = at_once(&store, move |store, caller| async move {
        (caller, store.redeem_device(digest, &grant(caller), now()).await.expect("an answer"))
    });
    let redemptions = redemptions.await;
    assert_eq!(redemptions.iter().filter(|(_, redeemed)| *redeemed).count(), 1);
    for (caller, redeemed) in redemptions {
        assert_eq!(store.grant(grant(caller).handle).await.expect("an answer").is_some(), redeemed);
    }
}

async fn a_device_is_over_when_its_time_has_come(make: Make) {
    let limits = Limits { devices: 1, ..Limits::default() };
    let Fixture { store, _directory } = make(limits);
    let device = device(1);
    let over = device.expires_at;
    assert_eq!(store.record_device(&device).await, Ok(Begun::First));
    assert_eq!(store.claim_device(device.user_code, browser(1), over).await, Ok(None));
    let last_moment = over.before(Duration::from_millis(1));
    assert!(store.claim_device(device.user_code, browser(1), last_moment).await.expect("an answer").is_some());
    assert_eq!(store.decide_device(device.digest, browser(1), &approval(), over).await, Ok(false));
    assert_eq!(store.sweep(over + limits.kept, 100).await, Ok(0), "it is kept for a while");
    assert!(store.device(device.digest).await.expect("an answer").is_some());
    assert_eq!(store.sweep(over + limits.kept + SECOND, 100).await, Ok(1));
    assert_eq!(store.device(device.digest).await, Ok(None));
    assert_eq!(store.record_device(&device).await, Ok(Begun::First), "which makes room for both of its codes");
}

async fn an_assertion_is_spent_once(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let expires = now() + SECOND;
    assert_eq!(store.spend_assertion(assertion(1), expires, now()).await, Ok(Seen::First));
    assert_eq!(store.spend_assertion(assertion(1), expires, now()).await, Ok(Seen::Replayed));
    assert_eq!(store.spend_assertion(assertion(1), expires + SECOND, expires).await, Ok(Seen::Replayed));
    assert_eq!(store.spend_assertion(assertion(2), expires, now()).await, Ok(Seen::First));
}

async fn a_block_of_places_is_leased_to_one_and_again_when_its_lease_is_over(make: Make) {
    let Fixture { store, .. } = make(Limits::default());
    let at = |seconds| now() + SECOND * seconds;
    let lease = async |from, over| store.lease_status_block(at(from), at(over)).await.expect("a block").number;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let store = Arc::clone(&store);
        tasks.spawn(async move { store.lease_status_block(now(), now() + SECOND * 60).await.expect("a block").number });
    }
    let leased: HashSet<_> = tasks.join_all().await.into_iter().collect();
    assert_eq!(leased.len() as u64, CALLERS, "no block is leased twice");
    let next = lease(1, 30).await;
    assert!(!leased.contains(&next));
    assert_eq!(lease(31, 90).await, next, "its lease was over first");
    assert!(!leased.contains(&lease(60, 90).await), "a lease is over after its last moment");
    assert!(leased.contains(&lease(61, 120).await));
}

async fn a_crowded_block_gives_way_to_a_new_one(make: Make) {
    let Fixture { store, .. } = make(Limits { grants: 5_000, grants_per_person: 5_000, ..Limits::default() });
    let block = store.lease_status_block(now(), now() + SECOND).await.expect("a block");
    assert_eq!((block.used.len(), block.free().len()), (0, STATUS_BLOCK as usize));
    let half = STATUS_BLOCK as usize / 2;
    for (place, number) in block.free().into_iter().zip(0_u64..).take(half + 1) {
        let record = code(number);
        let grant = Grant { handle: GrantHandle([7; 16]).at(place), ..grant(number) };
        assert_eq!(store.record_code(&record).await, Ok(Recorded::First));
        assert_eq!(store.redeem_code(record.digest, &grant, now()).await, Ok(Redeemed::First));
    }
    let crowded = store.lease_status_block(now() + SECOND * 2, now() + SECOND * 3).await.expect("a block");
    assert_ne!(crowded.number, block.number);
    let again = store.lease_status_block(now() + SECOND * 4, now() + SECOND * 60).await.expect("a block");
    assert_eq!(again.number, crowded.number, "the crowded one was put back");
    assert_eq!(again.free().len(), STATUS_BLOCK as usize);
}

async fn a_token_that_was_revoked_stays_revoked(make: Make) {
    let Fixture { store, _directory } = make(Limits { revocations: 2, ..Limits::default() });
    let name = |number| TokenName(bytes(number));
    assert_eq!(store.is_token_revoked(name(1)).await, Ok(false));
    for number in [1, 2, 1] {
        assert_eq!(
            store.revoke_token(name(number), now() + SECOND * u32::try_from(number).expect("few"), now()).await,
            Ok(())
        );
    }
    assert_eq!(store.revoke_token(name(3), now() + SECOND, now()).await, Err(Unavailable::Full));
    assert_eq!(store.sweep(now() + SECOND * 2, 100).await, Ok(1));
    let mut revoked = Vec::new();
    for number in 1..=3 {
        revoked.push(store.is_token_revoked(name(number)).await.expect("an answer"));
    }
    assert_eq!(revoked, [false, true, false]);
    assert_eq!(store.revoke_token(name(3), now() + SECOND * 3, now()).await, Ok(()));
}

async fn what_has_ended_is_told_by_when(make: Make) {
    let Fixture { store, _directory } = make(Limits { grants_per_person: 2, ..Limits::default() });
    let at = |seconds: u32| now() + SECOND * seconds;
    let name = |number| TokenName(bytes(number));
    // Others may be writing in the same database.
    let nothing = store.ended_since(Timestamp::default(), now()).await.expect("an answer");
    assert_eq!(Ended { unfinished: None, ..nothing }, Ended::default());
    for number in 1..=3 {
        begin_at(&*store, &Grant { subject: "ada".parse().expect("a name"), ..grant(number) }, at(1)).await;
    }
    // The third has superseded the first.
    assert_eq!(store.end_grant(grant(2).handle, EndedBy::Fork, at(2)).await, Ok(()));
    assert_eq!(store.revoke_token(name(1), at(60), at(2)).await, Ok(()));
    assert_eq!(store.end_grants_of(&"ada".parse().expect("a name"), EndedBy::Revoked, at(3)).await, Ok(1));
    assert_eq!(store.revoke_token(name(2), at(50), at(3)).await, Ok(()));
    assert_eq!(store.revoke_token(name(1), at(60), at(4)).await, Ok(()), "the first time counts");
    let all = [(1, at(1)), (2, at(2)), (3, at(3))].map(|(number, when)| (grant(number).handle, when));
    let tokens = [(name(1), at(60)), (name(2), at(50))];
    for (since, from) in [(0, 0_usize), (1, 0), (2, 1), (3, 2), (4, 3)] {
        let told = store.ended_since(at(since), at(since)).await.expect("an answer");
        let later = from.saturating_sub(1).min(2);
        assert_eq!(told.grants.len(), all.len() - from, "since {since}: {told:?}");
        for (grant, ended) in &all[from..] {
            // A store that has a clock of its own goes by that if it is ahead.
            let when = told.grants.iter().find(|(told, _)| told == grant).map(|(_, when)| *when);
            assert!(when == Some(*ended) || when > Some(at(1_000_000)), "since {since}: {told:?}");
        }
        let tokens: BTreeMap<_, _> = tokens[later..].iter().map(|(name, until)| (name.0, *until)).collect();
        let told: BTreeMap<_, _> = told.tokens.iter().map(|(name, until)| (name.0, *until)).collect();
        assert_eq!(told, tokens, "since {since}");
    }
}

async fn an_access_token_is_found_by_its_handle_until_it_is_over(make: Make) {
    let Fixture { store, _directory } = make(Limits { access_tokens: 2, ..Limits::default() });
    assert_eq!(store.access_token(access_token(1).digest).await, Ok(None));
    for number in 1..=2 {
        assert_eq!(store.check_room_for_access_token().await, Ok(()));
        assert_eq!(store.record_access_token(&access_token(number)).await, Ok(()));
        assert_eq!(store.access_token(access_token(number).digest).await, Ok(Some(access_token(number))));
    }
    assert_eq!(store.check_room_for_access_token().await, Err(Unavailable::Full));
    // Whoever was told that there is room has spent a code for it.
    assert_eq!(store.record_access_token(&access_token(3)).await, Ok(()));
    assert_eq!(store.sweep(access_token(2).expires_at, 100).await, Ok(1));
    assert_eq!(store.access_token(access_token(1).digest).await, Ok(None));
    assert_eq!(store.access_token(access_token(2).digest).await, Ok(Some(access_token(2))));
    assert_eq!(store.check_room_for_access_token().await, Err(Unavailable::Full));
    assert_eq!(store.sweep(access_token(2).expires_at + SECOND, 100).await, Ok(1));
    assert_eq!(store.check_room_for_access_token().await, Ok(()));
}

pub fn access_token(number: u64) -> AccessTokenRecord {
    AccessTokenRecord {
        digest: Digest::<AccessTokenKind>::from_bytes(bytes(number)),
        claims: format!(r#"{{"jti":"{number}","sub":"ada"}}"#),
        expires_at: now() + SECOND * u32::try_from(number).expect("few"),
    }
}

async fn an_assertion_may_come_again_after_its_time(make: Make) {
    let Fixture { store, _directory } = make(Limits { assertions: 1, ..Limits::default() });
    let later = now() + SECOND * 2;
    assert_eq!(store.spend_assertion(assertion(1), now() + SECOND, now()).await, Ok(Seen::First));
    assert_eq!(store.spend_assertion(assertion(1), later + SECOND, later).await, Ok(Seen::First));
    assert_eq!(store.spend_assertion(assertion(1), later + SECOND, later).await, Ok(Seen::Replayed));
    assert_eq!(store.sweep(later, 100).await, Ok(0));
    assert_eq!(store.spend_assertion(assertion(1), later + SECOND, later).await, Ok(Seen::Replayed));
}

async fn of_many_assertions_at_once_one_is_first(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let answers = at_once(&store, |store, _| async move {
        store.spend_assertion(assertion(1), now() + SECOND, now()).await.expect("an answer")
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| **answer == Seen::First).count(), 1);
}

async fn a_session_lasts_until_its_end(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let (stays, leaves) = (session(1), session(2));
    for session in [&stays, &leaves] {
        assert_eq!(store.open_session(session).await, Ok(()));
        assert_eq!(store.session(session.digest, now()).await, Ok(Some(session.clone())));
    }
    assert_eq!(store.end_session(leaves.digest).await, Ok(()));
    assert_eq!(store.session(leaves.digest, now()).await, Ok(None));
    let last_moment = stays.expires_at.before(Duration::from_millis(1));
    assert_eq!(store.session(stays.digest, last_moment).await, Ok(Some(stays.clone())));
    assert_eq!(store.session(stays.digest, stays.expires_at).await, Ok(None));
}

async fn a_client_is_told_once_that_a_session_is_over(make: Make) {
    let limits = Limits { session_clients: 3, ..Limits::default() };
    let Fixture { store, _directory } = make(limits);
    let (one, two, over) = (session_client(1, "web"), session_client(1, "app"), session_client(2, "web"));
    let over = SessionClient { expires_at: now(), ..over };
    for client in [&one, &two, &over] {
        assert_eq!(store.join_session(client).await, Ok(()));
    }
    assert_eq!(store.join_session(&session_client(3, "web")).await, Err(Unavailable::Full));
    let more = SessionClient { scopes: "openid".parse().expect("a scope"), ..one.clone() };
    assert_eq!(store.join_session(&more).await, Ok(()), "in the place of the earlier");
    assert_eq!(store.session_client(one.session, &one.client_id, now()).await, Ok(Some(more.clone())));
    assert_eq!(store.session_client(over.session, &over.client_id, now()).await, Ok(None));
    let mut left = store.leave_session(one.session, now(), 10).await.expect("clients");
    left.sort_by(|one, other| one.client_id.cmp(&other.client_id));
    assert_eq!(left, [two.clone(), more]);
    assert_eq!(store.leave_session(one.session, now(), 10).await, Ok(Vec::new()));
    assert_eq!(store.leave_session(over.session, now(), 10).await, Ok(Vec::new()));

    // All sessions of a person, and nobody else's; a bounded number at a time.
    let other = SessionClient { subject: "0b70".parse().expect("a subject"), ..session_client(2, "web") };
    let same = session_client(3, "web");
    for client in [&two, &other, &same] {
        assert_eq!(store.join_session(client).await, Ok(()));
    }
    assert_eq!(store.leave_sessions_of(&two.subject, now(), 1).await.map(|left| left.len()), Ok(1));
    assert_eq!(store.leave_sessions_of(&two.subject, now(), 9).await.map(|left| left.len()), Ok(1));
    assert_eq!(store.leave_sessions_of(&two.subject, now(), 9).await, Ok(Vec::new()));
    assert_eq!(store.session_client(other.session, &other.client_id, now()).await, Ok(Some(other.clone())));
    assert_eq!(store.sweep(other.expires_at + SECOND, 100).await, Ok(1));
}

async fn of_many_ends_of_a_session_at_once_one_tells_its_clients(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    assert_eq!(store.join_session(&session_client(1, "web")).await, Ok(()));
    let answers = at_once(&store, |store, _| async move {
        store.leave_session(SessionId(bytes(1)), now(), 10).await.expect("an answer").len()
    })
    .await;
    assert_eq!(answers.into_iter().sum::<usize>(), 1);
}

async fn all_sessions_of_a_person_end(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let other = SessionRecord { subject: "0b70".parse().expect("a subject"), ..session(3) };
    for session in [&session(1), &session(2), &other] {
        assert_eq!(store.open_session(session).await, Ok(()));
    }
    assert_eq!(store.end_sessions_of(&session(1).subject).await, Ok(()));
    for session in [session(1), session(2)] {
        assert_eq!(store.session(session.digest, now()).await, Ok(None));
    }
    assert_eq!(store.session(other.digest, now()).await, Ok(Some(other.clone())));
    assert_eq!(store.open_session(&session(1)).await, Ok(()), "there is room again");
    assert_eq!(store.sweep(now() + DAY * 2, 100).await, Ok(2));
}

/// Grants of one person, begun one second after the other, of which the first four do not live; and one of another.
async fn grants_of_a_person(store: &dyn Store) -> Vec<Grant> {
    let begun = |number: u32| Grant { created_at: now() + SECOND * number, ..grant(number.into()) };
    let other = Grant { subject: "0b70".parse().expect("a subject"), ..begun(1) };
    let (ended, expired, idle) =
        (begun(2), Grant { expires_at: now(), ..begun(3) }, Grant { idle_expires_at: now(), ..begun(4) });
    let address = "2001:db8::7".parse().expect("an address");
    let device =
        Grant { origin: GrantOrigin::Device { address }, client_id: "tv".parse().expect("a name"), ..begun(5) };
    let live = [device, Grant { origin: GrantOrigin::Unknown, ..begun(6) }, begun(7)];
    for grant in [&other, &ended, &expired, &idle].into_iter().chain(&live) {
        begin(store, grant).await;
    }
    assert_eq!(store.end_grant(ended.handle, EndedBy::Fork, now()).await, Ok(()));
    live.into_iter().rev().collect()
}

async fn the_live_grants_of_a_person_are_listed(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let subject = grant(1).subject;
    assert_eq!(store.grants_of(&subject, now(), 10).await, Ok(vec![]));
    let live = grants_of_a_person(&*store).await;
    assert_eq!(store.grants_of(&subject, now(), 10).await, Ok(live.clone()));
    assert_eq!(store.grants_of(&subject, now(), 2).await, Ok(live[..2].to_vec()));
    assert_eq!(store.grants_of(&subject, now() + DAY * 8, 10).await, Ok(vec![]));
    let used = Grant { used_at: now() + DAY, idle_expires_at: now() + DAY * 9, ..live[0].clone() };
    assert_eq!(store.extend_grant(used.handle, used.idle_expires_at, used.used_at).await, Ok(()));
    assert_eq!(store.grants_of(&subject, now() + DAY * 8, 10).await, Ok(vec![used]));
}

async fn live_grants_are_listed_page_by_page(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let (ada, bob) = ("ada".parse::<Subject>().expect("a subject"), "bob".parse::<Subject>().expect("a subject"));
    let mut expected = Vec::new();
    for number in 1..=9 {
        let subject = if number % 2 == 0 { ada.clone() } else { bob.clone() };
        let client_id = client(number % 3).id;
        let grant = Grant { subject, client_id, ..grant(number) };
        begin(&*store, &grant).await;
        expected.push(grant);
    }
    store.end_grant(grant(9).handle, EndedBy::Administrator, now()).await.expect("an answer");
    expected.pop();
    expected.sort_by_key(|grant| grant.handle.0);
    let list = async |query: &GrantQuery, limit| store.list_grants(query, now(), limit).await.expect("an answer");

    let mut query = GrantQuery::default();
    let mut pages = Vec::new();
    while let page = list(&query, 3).await
        && let Some(last) = page.last()
    {
        assert!(page.len() <= 3);
        query.after = Some(last.handle);
        pages.extend(page);
    }
    assert_eq!(pages, expected);

    let of = |keep: &dyn Fn(&Grant) -> bool| expected.iter().filter(|grant| keep(grant)).cloned().collect::<Vec<_>>();
    let of_ada = GrantQuery { subject: Some(ada.clone()), ..GrantQuery::default() };
    assert_eq!(list(&of_ada, 100).await, of(&|grant| grant.subject == ada));
    let of_client = GrantQuery { client_id: Some(client(1).id), ..GrantQuery::default() };
    assert_eq!(list(&of_client, 100).await, of(&|grant| grant.client_id == client(1).id));
    let of_both = GrantQuery { subject: Some(ada.clone()), ..of_client };
    assert_eq!(list(&of_both, 100).await, of(&|grant| grant.client_id == client(1).id && grant.subject == ada));
    assert_eq!(store.list_grants(&GrantQuery::default(), now() + DAY * 400, 100).await, Ok(vec![]), "all are over");
}

async fn all_grants_of_a_client_end(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    for (number, client_id) in [(1, client(1).id), (2, client(1).id), (3, client(2).id)] {
        begin(&*store, &Grant { client_id, ..grant(number) }).await;
    }
    store.end_grant(grant(2).handle, EndedBy::Revoked, now()).await.expect("an answer");
    let end = async |at| store.end_grants_of_client(&client(1).id, EndedBy::Administrator, at).await;
    assert_eq!(end(now() + SECOND).await, Ok(1));
    assert_eq!(end(now() + SECOND * 2).await, Ok(0), "the first end counts");
    let ended = [Some((now() + SECOND, EndedBy::Administrator)), Some((now(), EndedBy::Revoked)), None];
    assert_eq!(ends(&*store, 1..=3).await, ended);
}

async fn very_many_grants_of_a_client_end(make: Make) {
    let limits = Limits { grants_per_person: 10_000, ..Limits::default() };
    let Fixture { store, _directory } = make(limits);
    assert_eq!(store.register_client(&client(1)).await, Ok(()));
    for number in 1..=1_100 {
        let client_id = client(if number % 100 == 0 { 2 } else { 1 }).id;
        begin(&*store, &Grant { client_id, ..grant(number) }).await;
    }
    assert_eq!(store.delete_client(&client(3).id, now()).await, Ok(None));
    assert_eq!(store.delete_client(&client(2).id, now()).await, Ok(None), "it has not registered itself");
    assert_eq!(store.delete_client(&client(1).id, now()).await, Ok(Some(1_089)));
    assert_eq!(ends(&*store, 99..=100).await, [Some((now(), EndedBy::ClientDeleted)), None]);
    let others = store.end_grants_of_client(&client(2).id, EndedBy::Administrator, now()).await;
    assert_eq!(others, Ok(11));
}

async fn grants_end_step_by_step_for_who_has_little_time(make: Make) {
    let Fixture { store, _directory } = make(Limits { grants_per_person: 10_000, ..Limits::default() });
    for number in 1..=12 {
        let client_id = client(if number % 4 == 0 { 2 } else { 1 }).id;
        begin(&*store, &Grant { client_id, ..grant(number) }).await;
    }
    store.end_grant(grant(1).handle, EndedBy::Revoked, now()).await.expect("an answer");
    let mut query = GrantQuery { client_id: Some(client(1).id), ..GrantQuery::default() };
    for (ended, more) in [(4, true), (4, true), (0, false)] {
        let step = store.end_some_grants(&query, EndedBy::Administrator, now() + SECOND, 4).await.expect("an answer");
        assert_eq!((step.ended, step.behind.is_some()), (ended, more));
        query.after = step.behind;
    }
    let by_us = Some((now() + SECOND, EndedBy::Administrator));
    let expected = (1..=12).map(|number| match number {
        1 => Some((now(), EndedBy::Revoked)),
        4 | 8 | 12 => None,
        _ => by_us,
    });
    assert_eq!(ends(&*store, 1..=12).await, expected.collect::<Vec<_>>());
    let none = store.end_some_grants(&query, EndedBy::Administrator, now(), 0).await;
    assert_eq!(none, Ok(SomeEnded { ended: 0, behind: None }));
}

async fn the_sessions_of_a_person_are_listed(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let subject = session(1).subject;
    let sessions = (1..=4).map(|number| SessionRecord {
        auth_time: now().before(SECOND * u32::try_from(number).expect("few")),
        subject: subject.clone(),
        ..session(number)
    });
    let mut sessions: Vec<_> = sessions.collect();
    sessions[3].subject = "somebody-else".parse().expect("a subject");
    sessions[2].idle_expires_at = now();
    for session in &sessions {
        store.open_session(session).await.expect("an answer");
    }
    assert_eq!(store.sessions_of(&subject, now(), 10).await, Ok(sessions[..2].to_vec()));
    assert_eq!(store.sessions_of(&subject, now(), 1).await, Ok(sessions[..1].to_vec()));
}

async fn pending_devices_are_listed_and_turned_away_once(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let mut devices: Vec<_> = (1..=3).map(device).collect();
    devices.sort_by_key(|device| *device.digest.as_bytes());
    for device in &devices {
        assert_eq!(store.record_device(device).await, Ok(Begun::First));
    }
    let list = async |after: Option<&DeviceRecord>, limit| {
        store.pending_devices(after.map(|device| device.digest), now(), limit).await.expect("an answer")
    };
    assert_eq!(list(None, 10).await, devices);
    assert_eq!(list(Some(&devices[0]), 1).await, devices[1..2]);
    assert_eq!(store.decline_device(devices[0].digest, now()).await, Ok(true));
    assert_eq!(store.decline_device(devices[0].digest, now()).await, Ok(false), "it is decided");
    assert_eq!(list(None, 10).await, devices[1..]);
    let declined = store.device(devices[0].digest).await.expect("an answer").expect("a device");
    assert_eq!(declined.decision, Some(Decision::Decline));
    assert_eq!(store.decline_device(devices[1].digest, devices[1].expires_at).await, Ok(false), "its time is over");
    assert_eq!(store.pending_devices(None, devices[1].expires_at, 10).await, Ok(vec![]));
}

async fn registered_clients_are_listed_by_name(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let mut clients: Vec<_> = (1..=3).map(client).collect();
    clients[1].id = "reg-B".parse().expect("a name"); // capitals come first, as their bytes do
    for client in &clients {
        store.register_client(client).await.expect("an answer");
    }
    clients.sort_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
    assert_eq!(store.registered_clients(None, 10).await, Ok(clients.clone()));
    assert_eq!(store.registered_clients(Some(&clients[0].id), 1).await, Ok(clients[1..2].to_vec()));
}

async fn all_grants_of_a_person_end(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let live = grants_of_a_person(&*store).await;
    let later = now() + SECOND;
    assert_eq!(store.end_grants_of(&live[0].subject, EndedBy::Revoked, later).await, Ok(3));
    assert_eq!(store.end_grants_of(&live[0].subject, EndedBy::Revoked, later).await, Ok(0));
    assert_eq!(store.grants_of(&live[0].subject, later, 10).await, Ok(vec![]));
    let ended = Grant { ended: Some((later, EndedBy::Revoked)), ..live[0].clone() };
    assert_eq!(store.grant(ended.handle).await, Ok(Some(ended)));
    let first = store.grant(grant(2).handle).await.expect("an answer").expect("a grant");
    assert_eq!(first.ended, Some((now(), EndedBy::Fork)), "the first end counts");
    let other = store.grant(grant(1).handle).await.expect("an answer").expect("a grant");
    assert_eq!(other.ended, None);
}

async fn a_session_that_nobody_uses_ends(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let session = SessionRecord { idle_expires_at: now() + SECOND * 60, ..session(1) };
    assert_eq!(store.open_session(&session).await, Ok(()));
    assert_eq!(store.session(session.digest, session.idle_expires_at.before(SECOND)).await, Ok(Some(session.clone())));
    assert_eq!(store.session(session.digest, session.idle_expires_at).await, Ok(None));
    let used = SessionRecord { idle_expires_at: now() + DAY * 2, ..session };
    assert_eq!(store.extend_session(used.digest, used.idle_expires_at).await, Ok(()));
    assert_eq!(store.sweep(now() + SECOND * 61, 100).await, Ok(0));
    assert_eq!(store.session(used.digest, used.expires_at.before(SECOND)).await, Ok(Some(used.clone())));
    assert_eq!(store.session(used.digest, used.expires_at).await, Ok(None), "used or not");
    assert_eq!(store.sweep(used.expires_at + SECOND, 100).await, Ok(1));
    assert_eq!(store.extend_session(used.digest, used.expires_at + DAY).await, Ok(()), "which does nothing");
}

async fn a_person_is_remembered_as_last_seen(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let first = person(1);
    assert_eq!(store.remember_person(&first).await, Ok(true));
    assert_eq!(store.person(&first.subject).await, Ok(Some(first.clone())));
    assert_eq!(store.person(&person(2).subject).await, Ok(None));

    let (name, email) = ("Ada Lovelace".to_owned(), None);
    let claims = tollgate::jose::object(br#"{ "a": { "b": [1, null] } }"#).expect("an object");
    let last_seen = now() + SECOND;
    let newer = PersonRecord { name, email, claims, last_seen, needed_until: now(), ..first.clone() };
    assert_eq!(store.remember_person(&newer).await, Ok(true));
    let known = PersonRecord { needed_until: first.needed_until, ..newer };
    assert_eq!(store.person(&first.subject).await, Ok(Some(known)), "who is needed no less than before");
}

async fn a_person_who_is_disabled_stays_so(make: Make) {
    let Fixture { store, _directory } = make(Limits { people: 2, ..Limits::default() });
    let (known, unseen) = (person(1), person(2));
    assert_eq!(store.remember_person(&known).await, Ok(true));
    for person in [&known, &unseen] {
        assert_eq!(store.disable_person(&person.subject, now()).await, Ok(()));
        assert_eq!(store.disable_person(&person.subject, now()).await, Ok(()), "twice is once");
        assert_eq!(store.remember_person(&PersonRecord { name: "x".into(), ..person.clone() }).await, Ok(false));
    }
    assert_eq!(store.person(&known.subject).await, Ok(Some(PersonRecord { disabled: true, ..known.clone() })));
    assert!(store.person(&unseen.subject).await.is_ok_and(|found| found.is_some_and(|found| found.disabled)));
    assert_eq!(store.disable_person(&person(3).subject, now()).await, Err(Unavailable::Full));

    assert_eq!(store.enable_person(&known.subject).await, Ok(()));
    assert_eq!(store.enable_person(&person(3).subject).await, Ok(()), "which does nothing");
    assert_eq!(store.person(&known.subject).await, Ok(Some(known.clone())));
    assert_eq!(store.remember_person(&known).await, Ok(true));
}

async fn people_are_forgotten_when_nothing_needs_them(make: Make) {
    let Fixture { store, _directory } = make(Limits { people: 2, ..Limits::default() });
    let (leaves, disabled) = (person(1), person(2));
    for person in [&leaves, &disabled] {
        assert_eq!(store.remember_person(person).await, Ok(true));
    }
    assert_eq!(store.remember_person(&person(3)).await, Err(Unavailable::Full));
    assert_eq!(store.disable_person(&disabled.subject, now()).await, Ok(()));
    let needed_until = leaves.needed_until + DAY;
    assert_eq!(store.remember_person(&PersonRecord { needed_until, ..leaves.clone() }).await, Ok(true));
    assert_eq!(store.sweep(needed_until, 100).await, Ok(0));
    assert_eq!(store.sweep(needed_until + SECOND, 100).await, Ok(1));
    assert_eq!(store.person(&leaves.subject).await, Ok(None));
    assert_eq!(store.remember_person(&disabled).await, Ok(false));

    assert_eq!(store.enable_person(&disabled.subject).await, Ok(()));
    assert_eq!(store.sweep(needed_until + SECOND, 100).await, Ok(1));
    assert_eq!(store.sweep(Timestamp::MAX, 100).await, Ok(0));
}

pub fn client(number: u64) -> ClientRecord {
    ClientRecord {
        id: format!("reg-{number}").parse().expect("a name"),
        metadata: format!("{{\"client_name\":\"é{number}\"}}"),
        secret: None,
        registration_token: Digest::from_bytes(bytes(number)),
        registered_at: now(),
        disposable_from: None,
    }
}

async fn a_client_is_read_as_it_was_registered(make: Make) {
    let Fixture { store, _directory } = make(Limits { clients: 2, ..Limits::default() });
    let secret = ClientSecretHash::from_bytes([5; 32]);
    let bare = client(1);
    let full = ClientRecord { secret: Some(secret), disposable_from: Some(now() + DAY), ..client(2) };
    for client in [&bare, &full] {
        assert_eq!(store.register_client(client).await, Ok(()));
        assert_eq!(store.registered_client(&client.id).await, Ok(Some(client.clone())));
    }
    assert_eq!(store.register_client(&client(3)).await, Err(Unavailable::Full));
    assert_eq!(store.registered_client(&client(3).id).await, Ok(None));

    let changed = ClientRecord { metadata: "{}".to_owned(), secret: None, disposable_from: None, ..full.clone() };
    let later =
        ClientRecord { registered_at: now() + DAY * 2, registration_token: Digest::from_bytes([8; 32]), ..changed };
    assert_eq!(store.update_client(&later).await, Ok(true));
    let expected = ClientRecord { metadata: "{}".to_owned(), secret: None, disposable_from: None, ..full };
    assert_eq!(store.registered_client(&later.id).await, Ok(Some(expected)), "its token and its age stay");
    assert_eq!(store.update_client(&client(3)).await, Ok(false));
    assert_eq!(store.registered_client(&client(3).id).await, Ok(None));
}

async fn a_client_is_deleted_once_and_its_grants_end_with_it(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    store.register_client(&client(1)).await.expect("an answer");
    for (number, client_id) in [(1, client(1).id), (2, client(1).id), (3, client(2).id)] {
        let grant = Grant { client_id, ..grant(number) };
        assert_eq!(store.record_code(&code(number)).await, Ok(Recorded::First));
        assert_eq!(store.redeem_code(code(number).digest, &grant, now()).await, Ok(Redeemed::First));
    }
    store.end_grant(grant(2).handle, EndedBy::Revoked, now()).await.expect("an answer");
    let delete = |store: Arc<dyn Store>| async move { store.delete_client(&client(1).id, now() + SECOND).await };
    let deleting: Vec<_> = (0..8).map(|_| tokio::spawn(delete(Arc::clone(&store)))).collect();
    let mut all = Vec::new();
    for deleted in deleting {
        all.push(deleted.await.expect("no panic"));
    }
    // Another one may have ended its grant.
    assert_eq!(all.iter().filter(|answer| matches!(answer, Ok(Some(0..=1)))).count(), 1, "{all:?}");
    assert_eq!(all.iter().filter(|answer| **answer == Ok(None)).count(), 7, "{all:?}");
    assert_eq!(store.registered_client(&client(1).id).await, Ok(None));
    let ended = [Some((now() + SECOND, EndedBy::ClientDeleted)), Some((now(), EndedBy::Revoked)), None];
    assert_eq!(ends(&*store, 1..=3).await, ended);
}

async fn a_client_that_nobody_has_let_in_is_forgotten(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    for number in 1..=4 {
        let disposable_from = (number != 4).then(|| now() + DAY);
        store.register_client(&ClientRecord { disposable_from, ..client(number) }).await.expect("an answer");
    }
    let grant = Grant { client_id: client(3).id, ..grant(1) };
    assert_eq!(store.record_code(&code(1)).await, Ok(Recorded::First));
    assert_eq!(store.redeem_code(code(1).digest, &grant, now()).await, Ok(Redeemed::First));
    let there = async || {
        let mut there = Vec::new();
        for number in 1..=4 {
            there.push(store.registered_client(&client(number).id).await.expect("an answer").is_some());
        }
        there
    };
    store.sweep(now() + DAY, 100).await.expect("an answer");
    assert_eq!(there().await, [true; 4], "its time is not over");
    assert_eq!(store.sweep(now() + DAY + SECOND, 1).await, Ok(1));
    assert_eq!(there().await.iter().filter(|there| **there).count(), 3, "in small steps");
    store.sweep(now() + DAY + SECOND, 100).await.expect("an answer");
    assert_eq!(there().await, [false, false, true, true]);
    // Once its grants are gone, so is the client.
    while store.sweep(now() + DAY * 40, 100).await.expect("an answer") > 0 {}
    assert_eq!(there().await, [false, false, false, true]);
}

async fn signing_keys_are_kept_by_generation(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    assert_eq!(store.signing_keys().await, Ok(vec![]));
    let algorithms = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Ed25519, Algorithm::Ps256, Algorithm::Rs256];
    let keys: Vec<_> = (0..).zip(algorithms).map(|(n, algorithm)| KeyRecord { algorithm, ..key(n) }).collect();
    for key in keys.iter().rev() {
        assert_eq!(store.add_signing_key(key, &[]).await, Ok(true));
    }
    assert_eq!(store.signing_keys().await, Ok(keys.clone()));

    let moved = KeyRecord { retire_at: now(), drop_at: now() + SECOND, ..keys[4].clone() };
    let rescheduled = Rescheduled { read: keys[4].clone(), next: moved.clone() };
    assert_eq!(store.add_signing_key(&key(4), std::slice::from_ref(&rescheduled)).await, Ok(false));
    assert_eq!(store.signing_keys().await, Ok(keys.clone()), "a loser changes nothing");
    assert_eq!(store.add_signing_key(&key(5), std::slice::from_ref(&rescheduled)).await, Ok(true));
    assert_eq!(store.signing_keys().await, Ok([&keys[..4], &[moved, key(5)]].concat()));
}

async fn a_key_that_was_withdrawn_meanwhile_stays_so(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    for generation in 0..2 {
        assert_eq!(store.add_signing_key(&key(generation), &[]).await, Ok(true));
    }
    let withdrawn = KeyRecord { retire_at: now(), drop_at: now(), ..key(1) };
    assert_eq!(store.reschedule_signing_key(&key(1), &withdrawn).await, Ok(true));
    let later = |generation| KeyRecord { drop_at: now() + SECOND * 90, ..key(generation) };
    let rescheduled = [0, 1].map(|generation| Rescheduled { read: key(generation), next: later(generation) });
    assert_eq!(store.add_signing_key(&key(2), &rescheduled).await, Ok(false), "one of them is another by now");
    assert_eq!(store.signing_keys().await, Ok(vec![key(0), withdrawn]), "and nothing has changed");
}

async fn a_key_is_rescheduled_as_it_was_read(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    for generation in 0..2 {
        assert_eq!(store.add_signing_key(&key(generation), &[]).await, Ok(true));
    }
    let next = KeyRecord { retire_at: now(), drop_at: now() + SECOND, ..key(0) };
    assert_eq!(store.reschedule_signing_key(&key(0), &next).await, Ok(true));
    assert_eq!(store.reschedule_signing_key(&key(0), &key(1)).await, Ok(false), "it has another schedule");
    assert_eq!(store.reschedule_signing_key(&key(7), &next).await, Ok(false), "there is no such key");
    assert_eq!(store.signing_keys().await, Ok(vec![next, key(1)]));
}

async fn a_key_is_sealed_anew_as_it_was_read(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    for generation in 0..2 {
        assert_eq!(store.add_signing_key(&key(generation), &[]).await, Ok(true));
    }
    let moved = KeyRecord { retire_at: now(), ..key(0) };
    assert_eq!(store.reschedule_signing_key(&key(0), &moved).await, Ok(true));
    let anew = |key: KeyRecord| KeyRecord { sealed: b"anew".to_vec(), secret: Some(b"new".to_vec()), ..key };
    assert_eq!(store.reseal_signing_key(&key(0), &anew(key(0))).await, Ok(true), "whatever its schedule is by now");
    assert_eq!(store.reseal_signing_key(&key(0), &key(0)).await, Ok(false), "it has other seals");
    let half = KeyRecord { secret: key(0).secret, ..anew(key(0)) };
    assert_eq!(store.reseal_signing_key(&half, &key(0)).await, Ok(false), "its secret has another seal");
    assert_eq!(store.reseal_signing_key(&key(7), &anew(key(7))).await, Ok(false), "there is no such key");
    let without = KeyRecord { sealed: b"anew".to_vec(), ..key(1) };
    assert_eq!(store.reseal_signing_key(&key(1), &without).await, Ok(true), "one without a secret");
    assert_eq!(store.signing_keys().await, Ok(vec![anew(moved), without]));
}

async fn the_root_key_is_sealed_anew_as_it_was_read(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    assert_eq!(store.reseal_root_key(b"old", b"new").await, Ok(false), "there is none");
    assert_eq!(store.root_key(b"old").await, Ok(b"old".to_vec()));
    assert_eq!(store.reseal_root_key(b"other", b"new").await, Ok(false));
    assert_eq!(store.reseal_root_key(b"old", b"new").await, Ok(true));
    assert_eq!(store.root_key(b"old").await, Ok(b"new".to_vec()));
}

async fn of_many_keys_of_one_generation_one_is_added(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let answers = at_once(&store, |store, caller| async move {
        let key = KeyRecord { kid: caller.to_string(), ..key(7) };
        store.add_signing_key(&key, &[]).await.expect("an answer")
    })
    .await;
    assert_eq!(answers.iter().filter(|added| **added).count(), 1);
    assert_eq!(store.signing_keys().await.expect("an answer").len(), 1);
}

async fn the_first_root_key_stays(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    let answers =
        at_once(&store, |store, caller| async move { store.root_key(&caller.to_be_bytes()).await.expect("an answer") })
            .await;
    let different: HashSet<_> = answers.iter().collect();
    assert_eq!(different.len(), 1);
    assert_eq!(store.root_key(b"later").await.as_ref(), Ok(&answers[0]));
}

async fn the_last_sign_of_life_is_kept(make: Make) {
    let Fixture { store, _directory } = make(Limits::default());
    assert_eq!(store.last_alive().await, Ok(None));
    for (seconds, stopped) in [(0, false), (5, false), (7, true), (9, false)] {
        let alive = LastAlive { at: now() + SECOND * seconds, stopped };
        assert_eq!(store.note_alive(alive).await, Ok(()));
        assert_eq!(store.last_alive().await, Ok(Some(alive)));
    }
}

async fn a_full_store_turns_new_records_away(make: Make) {
    let Fixture { store, _directory } =
        make(Limits { codes: 3, grants: 2, sessions: 2, assertions: 2, ..Limits::default() });
    for number in 1..=3 {
        assert_eq!(store.record_code(&code(number)).await, Ok(Recorded::First));
    }
    assert_eq!(store.record_code(&code(4)).await, Err(Unavailable::Full));
    assert_eq!(store.code(code(4).digest).await, Ok(None));
    assert_eq!(store.record_code(&code(3)).await, Ok(Recorded::TransactionSpent), "which needs no room");
    for number in 1..=2 {
        assert_eq!(store.redeem_code(code(number).digest, &grant(number), now()).await, Ok(Redeemed::First));
        assert_eq!(store.open_session(&session(number)).await, Ok(()));
        assert_eq!(store.spend_assertion(assertion(number), now() + SECOND, now()).await, Ok(Seen::First));
    }
    assert_eq!(store.open_session(&session(3)).await, Err(Unavailable::Full));
    assert_eq!(store.spend_assertion(assertion(3), now() + SECOND, now()).await, Err(Unavailable::Full));
    assert_eq!(store.spend_assertion(assertion(2), now() + SECOND, now()).await, Ok(Seen::Replayed));
    assert_eq!(store.end_session(session(1).digest).await, Ok(()));
    assert_eq!(store.open_session(&session(3)).await, Ok(()));
}

async fn a_code_is_not_spent_when_there_is_no_room_for_its_grant(make: Make) {
    let limits = Limits { grants: 1, ..Limits::default() };
    let Fixture { store, _directory } = make(limits);
    begin(&*store, &grant(1)).await;
    let code = code(200);
    assert_eq!(store.record_code(&code).await, Ok(Recorded::First));
    assert_eq!(store.redeem_code(code.digest, &grant(2), now()).await, Err(Unavailable::Full));
    assert_eq!(store.code(code.digest).await, Ok(Some(code.clone())));
    assert_eq!(store.grant(grant(2).handle).await, Ok(None));
}

async fn of_very_many_grants_of_a_person_at_a_client_the_oldest_end(make: Make) {
    let Fixture { store, _directory } = make(Limits { grants_per_person: 3, ..Limits::default() });
    // By age, not by name: the oldest has the largest name.
    for number in (1..=5).rev() {
        let created_at = now() + SECOND * u32::try_from(5 - number).expect("few");
        begin(&*store, &Grant { created_at, ..grant(number) }).await;
    }
    assert_eq!(ends(&*store, 1..=5).await, [None, None, None, SUPERSEDED, SUPERSEDED]);
    // Those of the same moment go by name, but never the newest.
    for number in [9, 8, 7] {
        begin(&*store, &Grant { created_at: now() + DAY, ..grant(number) }).await;
    }
    assert_eq!(ends(&*store, 1..=3).await, [SUPERSEDED; 3]);
    begin(&*store, &Grant { created_at: now() + DAY, ..grant(6) }).await;
    assert_eq!(ends(&*store, 6..=9).await, [None, SUPERSEDED, None, None]);
    // The first end counts, here too.
    assert_eq!(store.end_grant(grant(7).handle, EndedBy::Revoked, now()).await, Ok(()));
    assert_eq!(store.rotate(&rotation(&grant(7), 1)).await, Ok(Rotated::Overtaken));
    assert_eq!(ends(&*store, 7..=7).await, [SUPERSEDED]);
}

async fn what_is_over_or_of_others_does_not_count_for_a_person(make: Make) {
    let Fixture { store, _directory } = make(Limits { grants_per_person: 1, ..Limits::default() });
    let somebody = Grant { subject: "0b70".parse().expect("a subject"), ..grant(1) };
    let elsewhere = Grant { client_id: "tv".parse().expect("a client"), ..grant(2) };
    let (expired, idle) = (Grant { expires_at: now(), ..grant(3) }, Grant { idle_expires_at: now(), ..grant(4) });
    for grant in [&somebody, &elsewhere, &expired, &idle, &grant(5)] {
        begin(&*store, grant).await;
    }
    assert_eq!(store.end_grant(grant(5).handle, EndedBy::Revoked, now()).await, Ok(()));
    begin(&*store, &grant(6)).await;
    let revoked = Some((now(), EndedBy::Revoked));
    assert_eq!(ends(&*store, 1..=6).await, [None, None, None, None, revoked, None]);
    begin(&*store, &grant(7)).await;
    assert_eq!(ends(&*store, 6..=7).await, [SUPERSEDED, None]);
}

async fn of_many_grants_of_a_person_at_once_no_more_live_than_may(make: Make) {
    let Fixture { store, _directory } = make(Limits { grants_per_person: 8, ..Limits::default() });
    at_once(&store, |store, caller| async move { begin(&*store, &grant(caller)).await }).await;
    let ends = ends(&*store, 1..=CALLERS).await;
    assert_eq!(ends.iter().filter(|end| end.is_none()).count(), 8);
}

async fn a_device_counts_among_the_grants_of_a_person(make: Make) {
    let Fixture { store, _directory } = make(Limits { grants_per_person: 1, ..Limits::default() });
    for number in 1..=2 {
        let device = device(number);
        assert_eq!(store.record_device(&device).await, Ok(Begun::First));
        decide(&*store, &device, &approval()).await;
        assert_eq!(store.redeem_device(device.digest, &grant(number), now()).await, Ok(true));
    }
    assert_eq!(ends(&*store, 1..=2).await, [SUPERSEDED, None]);
    begin(&*store, &grant(3)).await;
    assert_eq!(ends(&*store, 2..=3).await, [SUPERSEDED, None]);
}

/// The end of a grant that was one too many.
const SUPERSEDED: Option<(Timestamp, EndedBy)> = Some((now(), EndedBy::Superseded));

/// How grants ended, by their numbers.
async fn ends(store: &dyn Store, numbers: std::ops::RangeInclusive<u64>) -> Vec<Option<(Timestamp, EndedBy)>> {
    let mut ends = Vec::new();
    for number in numbers {
        ends.push(store.grant(grant(number).handle).await.expect("an answer").expect("a grant").ended);
    }
    ends
}

async fn what_is_over_is_swept_in_small_steps(make: Make) {
    let limits = Limits::default();
    let Fixture { store, _directory } = make(limits);
    for number in 1..=5 {
        let code = code(number);
        assert_eq!(store.record_code(&code).await, Ok(Recorded::First));
        assert_eq!(store.redeem_code(code.digest, &grant(number), now()).await, Ok(Redeemed::First));
        assert_eq!(store.open_session(&session(number)).await, Ok(()));
        assert_eq!(store.spend_assertion(assertion(number), now() + SECOND, now()).await, Ok(Seen::First));
        assert_eq!(store.add_signing_key(&key(number), &[]).await, Ok(true));
    }
    let later = grant(5).expires_at + limits.kept + SECOND;
    let mut sizes = Vec::new();
    for _ in 0..6 {
        sizes.push(store.sweep(later, 7).await.expect("an answer"));
    }
    assert_eq!(sizes, [7, 7, 7, 3, 0, 0], "all but the newest key");
    assert_eq!(store.code(code(1).digest).await, Ok(None));
    assert_eq!(store.grant(grant(1).handle).await, Ok(None));
    assert_eq!(store.signing_keys().await, Ok(vec![key(5)]));
}

async fn what_lives_is_not_swept(make: Make) {
    let limits = Limits::default();
    let Fixture { store, _directory } = make(limits);
    let (ended, idle, extended, old) = (grant(1), grant(2), grant(3), Grant { expires_at: now() + DAY, ..grant(4) });
    for grant in [&ended, &idle, &extended, &old] {
        begin(&*store, grant).await;
    }
    assert_eq!(store.end_grant(ended.handle, EndedBy::Revoked, now()).await, Ok(()));
    assert_eq!(store.extend_grant(extended.handle, idle.idle_expires_at + DAY, now()).await, Ok(()));
    assert_eq!(store.extend_grant(old.handle, idle.idle_expires_at + DAY, now()).await, Ok(()));
    let held = async || {
        let mut held = Vec::new();
        for number in 1..=4 {
            held.push(store.grant(grant(number).handle).await.expect("an answer").is_some());
        }
        held
    };
    let sweep_at = async |over: Timestamp| {
        let last_moment = over + limits.kept;
        store.sweep(last_moment, 100).await.expect("an answer");
        let before = held().await;
        store.sweep(last_moment + Duration::from_millis(1), 100).await.expect("an answer");
        (before, held().await)
    };
    assert_eq!(sweep_at(now()).await, (vec![true; 4], vec![false, true, true, true]));
    assert_eq!(sweep_at(old.expires_at).await, (vec![false, true, true, true], vec![false, true, true, false]));
    assert_eq!(sweep_at(idle.idle_expires_at).await.1, [false, false, true, false]);
    assert_eq!(sweep_at(idle.idle_expires_at + DAY).await.1, [false; 4]);
}

async fn sweeping_makes_room(make: Make) {
    let limits = Limits { codes: 1, grants: 1, sessions: 1, assertions: 1, ..Limits::default() };
    let Fixture { store, _directory } = make(limits);
    let mut later = now();
    for number in 1..=3 {
        let code = CodeRecord { expires_at: later + SECOND, ..code(number) };
        let grant = Grant { expires_at: later + SECOND, ..grant(number) };
        assert_eq!(store.record_code(&code).await, Ok(Recorded::First));
        assert_eq!(store.redeem_code(code.digest, &grant, later).await, Ok(Redeemed::First));
        let session = SessionRecord { expires_at: later + SECOND, ..session(number) };
        assert_eq!(store.open_session(&session).await, Ok(()));
        assert_eq!(store.spend_assertion(assertion(number), later + SECOND, later).await, Ok(Seen::First));
        later = later + SECOND * 2 + limits.kept;
        assert_eq!(store.sweep(later, 100).await, Ok(4));
    }
}

async fn a_backlog_of_one_kind_keeps_no_other_waiting(make: Make) {
    let limits = Limits::default();
    let Fixture { store, _directory } = make(limits);
    for number in 1..=200 {
        assert_eq!(store.record_code(&code(number)).await, Ok(Recorded::First));
    }
    let (numbers, token) = (1001..=1010, |number| TokenName(bytes(number)));
    for number in numbers.clone() {
        begin(&*store, &grant(number)).await;
        assert_eq!(store.push_request(&pushed(number), now()).await, Ok(Pushed::First));
        assert_eq!(store.record_device(&device(number)).await, Ok(Begun::First));
        assert_eq!(store.remember_person(&person(number)).await, Ok(true));
        assert_eq!(store.revoke_token(token(number), now() + SECOND, now()).await, Ok(()));
        assert_eq!(store.record_access_token(&access_token(number)).await, Ok(()));
    }
    let later = grant(1).expires_at.max(person(1).needed_until) + limits.kept + DAY;
    assert_eq!(store.sweep(later, 65).await, Ok(65));
    let mut left = [0; 6];
    for number in numbers {
        left[0] += usize::from(store.grant(grant(number).handle).await.expect("an answer").is_some());
        left[1] += usize::from(store.pushed_request(pushed(number).digest).await.expect("an answer").is_some());
        left[2] += usize::from(store.device(device(number).digest).await.expect("an answer").is_some());
        left[3] += usize::from(store.person(&person(number).subject).await.expect("an answer").is_some());
        left[4] += usize::from(store.is_token_revoked(token(number)).await.expect("an answer"));
        left[5] += usize::from(store.access_token(access_token(number).digest).await.expect("an answer").is_some());
    }
    assert!(left.iter().all(|left| *left <= 5), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reopened_file_holds_everything() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), Limits::default());
    begin(&*store, &grant(1)).await;
    assert_eq!(store.rotate(&rotation(&grant(1), 1)).await, Ok(Rotated::Moved));
    assert_eq!(store.end_grant(grant(1).handle, EndedBy::Fork, now()).await, Ok(()));
    let code = code(1);
    assert_eq!(store.record_code(&code).await, Ok(Recorded::First));
    assert_eq!(store.redeem_code(code.digest, &grant(2), now()).await, Ok(Redeemed::First));
    assert_eq!(store.open_session(&session(1)).await, Ok(()));
    assert_eq!(store.remember_person(&person(1)).await, Ok(true));
    assert_eq!(store.spend_assertion(assertion(1), now() + SECOND, now()).await, Ok(Seen::First));
    assert_eq!(store.revoke_token(TokenName(bytes(1)), now() + SECOND, now()).await, Ok(()));
    assert_eq!(store.record_access_token(&access_token(1)).await, Ok(()));
    assert_eq!(store.add_signing_key(&key(1), &[]).await, Ok(true));
    assert_eq!(store.root_key(b"sealed").await, Ok(b"sealed".to_vec()));
    let alive = LastAlive { at: now(), stopped: true };
    assert_eq!(store.note_alive(alive).await, Ok(()));
    let before = (store.grant(grant(1).handle).await, store.code(code.digest).await);
    drop(store);

    let store = open(directory.path(), Limits { assertions: 1, ..Limits::default() });
    assert_eq!((store.grant(grant(1).handle).await, store.code(code.digest).await), before);
    assert_eq!(store.grant(grant(2).handle).await, Ok(Some(grant(2))));
    assert_eq!(store.redeem_code(code.digest, &grant(3), now()).await, Ok(Redeemed::Replayed(grant(2).handle)));
    assert_eq!(store.session(session(1).digest, now()).await, Ok(Some(session(1))));
    assert_eq!(store.person(&person(1).subject).await, Ok(Some(person(1))));
    assert_eq!(store.spend_assertion(assertion(1), now() + SECOND, now()).await, Ok(Seen::Replayed));
    assert_eq!(store.spend_assertion(assertion(2), now() + SECOND, now()).await, Err(Unavailable::Full));
    assert_eq!(store.is_token_revoked(TokenName(bytes(1))).await, Ok(true));
    assert_eq!(store.access_token(access_token(1).digest).await, Ok(Some(access_token(1))));
    assert_eq!(store.signing_keys().await, Ok(vec![key(1)]));
    assert_eq!(store.root_key(b"other").await, Ok(b"sealed".to_vec()));
    assert_eq!(store.last_alive().await, Ok(Some(alive)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_a_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let (server, command) = (open(directory.path(), Limits::default()), open(directory.path(), Limits::default()));
    let writes = at_once(&server, |store, caller| async move {
        begin(&*store, &grant(caller)).await;
    });
    let key = key(1);
    let (_, added) = tokio::join!(writes, command.add_signing_key(&key, &[]));
    assert_eq!(added, Ok(true));
    assert_eq!(server.signing_keys().await, Ok(vec![key]));
    assert_eq!(command.grant(grant(CALLERS).handle).await, Ok(Some(grant(CALLERS))));
    drop(command);
    begin(&*server, &grant(CALLERS + 1)).await;
}

#[test]
fn one_process_serves_from_a_file_whatever_its_path() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, link) = (directory.path().join("tollgate.db"), directory.path().join("link.db"));
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    let serve = |path: &Path| SqliteStore::open_to_serve(path, Limits::default());
    let server = serve(&path).expect("a store");
    for path in [&path, &link] {
        assert!(matches!(serve(path).map(drop), Err(OpenError::InUse(_))));
    }
    drop(SqliteStore::open(&path, Limits::default()).expect("a store for a command"));
    assert!(serve(&path).is_err(), "the command has let go of the lock");
    drop(server);
    drop(serve(&link).expect("a store"));
}

#[test]
fn only_the_owner_may_read_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tollgate.db");
    let _store = SqliteStore::open_to_serve(&path, Limits::default()).expect("a store");
    let files: Vec<_> =
        fs::read_dir(directory.path()).expect("a directory").map(|file| file.expect("a file")).collect();
    assert!(files.len() >= 3, "the database, its log, its lock: {files:?}");
    for file in files {
        assert_eq!(file.metadata().expect("metadata").permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}

#[test]
fn what_is_in_the_way_of_a_file_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let refused = |name: &str| match SqliteStore::open(&path(name), Limits::default()) {
        Ok(_) => panic!("{name} was opened"),
        Err(error) => (error.to_string(), error),
    };

    let (text, error) = refused("missing/tollgate.db");
    assert!(matches!(error, OpenError::DirectoryMissing(_)) && text.contains("does not exist"), "{text}");

    fs::create_dir(path("directory.db")).expect("a directory");
    let (text, _) = refused("directory.db");
    assert!(text.contains("directory.db"), "{text}");

    fs::write(path("text.db"), "no database, but long enough to look like a file of SQLite".repeat(50))
        .expect("a file");
    assert!(matches!(refused("text.db").1, OpenError::Foreign(_)));

    let foreign = rusqlite::Connection::open(path("foreign.db")).expect("a database");
    foreign.execute_batch("CREATE TABLE theirs (value)").expect("a table");
    drop(foreign);
    assert!(matches!(refused("foreign.db").1, OpenError::Foreign(_)));

    drop(SqliteStore::open(&path("newer.db"), Limits::default()).expect("a store"));
    let newer = rusqlite::Connection::open(path("newer.db")).expect("a database");
    let migration = "INSERT INTO refinery_schema_history VALUES (1000, 'later', '2030-01-01T00:00:00Z', '1')";
    newer.execute_batch(migration).expect("a row");
    drop(newer);
    let (text, error) = refused("newer.db");
    assert!(matches!(error, OpenError::Newer { found: 1000, .. }) && text.contains("schema 1000"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_this_version_does_not_understand_is_an_outage() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path(), Limits::default());
    for number in 1..=3 {
        begin(&*store, &grant(number)).await;
    }
    let other = rusqlite::Connection::open(directory.path().join("tollgate.db")).expect("a database");
    other.execute_batch("UPDATE grants SET sender_constraint = 'mtls'").expect("an update");
    assert_eq!(store.grant(grant(1).handle).await, Err(Unavailable::Down));
    other.execute_batch("UPDATE grants SET sender_constraint = 'none', ended_at = 1").expect("an update");
    assert_eq!(store.grant(grant(2).handle).await, Err(Unavailable::Down));
    other.execute_batch("UPDATE grants SET ended_by = 'whim'").expect("an update");
    assert_eq!(store.grant(grant(3).handle).await, Err(Unavailable::Down));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_does_not_spoil_those_that_share_its_commit() {
    let Fixture { store, _directory } = sqlite(Limits { grants: CALLERS / 2, ..Limits::default() });
    for number in 1..=CALLERS {
        assert_eq!(store.record_code(&code(number)).await, Ok(Recorded::First));
    }
    let answers = at_once(&store, |store, caller| async move {
        (caller, store.redeem_code(code(caller).digest, &grant(caller), now()).await)
    })
    .await;
    let (first, full): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, answer)| *answer == Ok(Redeemed::First));
    assert_eq!(first.len() as u64, CALLERS / 2);
    for (caller, _) in first {
        assert_eq!(store.grant(grant(caller).handle).await, Ok(Some(grant(caller))));
    }
    for (caller, answer) in full {
        assert_eq!(answer, Err(Unavailable::Full));
        assert_eq!(store.code(code(caller).digest).await, Ok(Some(code(caller))));
    }
}

pub const SECOND: Duration = Duration::from_secs(1);

pub const DAY: Duration = Duration::from_hours(24);

pub const fn now() -> Timestamp {
    Timestamp::from_millis(1_760_000_000_123)
}

/// Different bytes for each number.
pub fn bytes<const N: usize>(number: u64) -> [u8; N] {
    let mut bytes = [7; N];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

pub fn code(number: u64) -> CodeRecord {
    CodeRecord {
        digest: Digest::<CodeKind>::from_bytes(bytes(number)),
        transaction: TransactionId(bytes(number)),
        client_id: "spa".parse().expect("a client"),
        redirect_uri: "https://app.example/callback?x=1".into(),
        challenge: Some([3; 32]),
        subject: "0b6f".parse().expect("a subject"),
        auth_time: now().before(SECOND),
        acr: Some("urn:mfa".parse().expect("a class")),
        scopes: "orders:read orders:write".parse().expect("scopes"),
        resource: "https://api.example".parse().expect("a resource"),
        details: AuthorizationDetails::default(),
        dpop_jkt: None,
        nonce: Some("n-0S6_WzA2Mj".to_owned()),
        claims: RequestedClaims::default(),
        session: None,
        expires_at: now() + SECOND * 60,
        spent_for: None,
    }
}

pub fn pushed(number: u64) -> PushedRequest {
    PushedRequest {
        digest: Digest::<RequestUriKind>::from_bytes(bytes(number)),
        transaction: TransactionId(bytes(number)),
        client_id: "web".parse().expect("a client"),
        parameters: "client_id=web&scope=a+b&state=%C3%A9".into(),
        expires_at: now() + SECOND * 90,
        spent: false,
    }
}

pub fn device(number: u64) -> DeviceRecord {
    DeviceRecord {
        digest: Digest::<DeviceCodeKind>::from_bytes(bytes(number)),
        user_code: Digest::<UserCodeKind>::from_bytes(bytes(number + 500)),
        client_id: "tv".parse().expect("a client"),
        scopes: "orders:read orders:write".parse().expect("scopes"),
        resource: "https://api.example".parse().expect("a resource"),
        dpop_jkt: None,
        address: "192.0.2.7".parse().expect("an address"),
        created_at: now(),
        expires_at: now() + SECOND * 600,
        pace: Pace { interval: SECOND * 5, next_poll: now() },
        claimed_by: None,
        decision: None,
    }
}

fn browser(number: u64) -> Digest<BrowserKind> {
    Digest::from_bytes(bytes(number))
}

fn approval() -> Decision {
    let acr = Some("urn:mfa".parse().expect("a class"));
    Decision::Approve { subject: "0b6f".parse().expect("a subject"), auth_time: now().before(SECOND), acr }
}

/// Lets browser 1 claim a device and decide.
async fn decide(store: &dyn Store, device: &DeviceRecord, decision: &Decision) {
    assert!(store.claim_device(device.user_code, browser(1), now()).await.expect("an answer").is_some());
    assert_eq!(store.decide_device(device.digest, browser(1), decision, now()).await, Ok(true));
}

pub fn grant(number: u64) -> Grant {
    Grant {
        handle: GrantHandle(bytes(number)),
        client_id: "spa".parse().expect("a client"),
        subject: "0b6f".parse().expect("a subject"),
        scopes: "orders:read".parse().expect("scopes"),
        resource: "https://api.example".parse().expect("a resource"),
        details: AuthorizationDetails::default(),
        claims: RequestedClaims::default(),
        session: None,
        origin: GrantOrigin::Browser,
        auth_time: now().before(SECOND),
        acr: Some("urn:mfa".parse().expect("a class")),
        sender_constraint: SenderConstraint::Dpop,
        refresh: RefreshState { tag_key: [1; 32], current_n: 0, current_hash: bytes(number), previous: None },
        created_at: now(),
        used_at: now(),
        idle_expires_at: now() + DAY * 7,
        expires_at: now() + DAY * 30,
        ended: None,
    }
}

/// A rotation of `grant` as it is; `salt` tells the new tokens of two callers apart.
pub fn rotation(grant: &Grant, salt: u64) -> Rotation {
    let RefreshState { tag_key, current_n, current_hash, .. } = grant.refresh;
    let previous = Previous { n: current_n, hash: current_hash, seed: bytes(salt), rotated_at_millis: now().millis() };
    let next =
        RefreshState { tag_key, current_n: current_n + 1, current_hash: bytes(1_000 + salt), previous: Some(previous) };
    Rotation {
        handle: grant.handle,
        read_n: current_n,
        read_hash: current_hash,
        next,
        sender_constraint: grant.sender_constraint,
        used_at: grant.used_at + SECOND,
        idle_expires_at: grant.idle_expires_at + SECOND,
    }
}

pub fn assertion(number: u64) -> ReplayKey {
    ReplayKey::from_bytes(bytes(number))
}

pub fn session(number: u64) -> SessionRecord {
    SessionRecord {
        digest: Digest::<SessionKind>::from_bytes(bytes(number)),
        id: SessionId(bytes(100 + number)),
        subject: "0b6f".parse().expect("a subject"),
        auth_time: now(),
        acr: Some("urn:mfa".parse().expect("a class")),
        idle_expires_at: now() + DAY,
        expires_at: now() + DAY,
    }
}

pub fn session_client(session: u64, client: &str) -> SessionClient {
    SessionClient {
        session: SessionId(bytes(session)),
        client_id: client.parse().expect("a name"),
        subject: "0b6f".parse().expect("a subject"),
        scopes: "openid orders:read".parse().expect("scopes"),
        resource: "https://api.example.com".parse().expect("a resource"),
        details: AuthorizationDetails::default(),
        claims: "userinfo.email".parse().expect("claims"),
        expires_at: now() + DAY,
    }
}

pub fn person(number: u64) -> PersonRecord {
    PersonRecord {
        subject: format!("person-{number}").parse().expect("a subject"),
        name: "Ada".to_owned(),
        email: Some("ada@example.com".to_owned()),
        claims: tollgate::jose::object(br#"{ "department": "ops" }"#).expect("an object"),
        disabled: false,
        last_seen: now(),
        needed_until: now() + DAY * 31,
    }
}

pub fn key(generation: u64) -> KeyRecord {
    KeyRecord {
        generation,
        kid: format!("kid {generation}"),
        algorithm: Algorithm::Es256,
        sealed: vec![1, 2, 3],
        secret: generation.is_multiple_of(2).then(|| vec![4, 5, 6]),
        published_at: now(),
        sign_from: now() + SECOND,
        retire_at: now() + SECOND * 2,
        drop_at: now() + SECOND * 3,
    }
}

/// Puts a grant in the store in the one way there is: a code is redeemed for it.
pub async fn begin(store: &dyn Store, grant: &Grant) {
    begin_at(store, grant, now()).await;
}

async fn begin_at(store: &dyn Store, grant: &Grant, when: Timestamp) {
    let number = u64::from_be_bytes(*grant.handle.0.first_chunk().expect("16 bytes begin with 8"));
    let code = code(1_000_000 + number);
    assert_eq!(store.record_code(&code).await, Ok(Recorded::First));
    assert_eq!(store.redeem_code(code.digest, grant, when).await, Ok(Redeemed::First));
}

/// Lets callers 1 to [`CALLERS`] go at the same moment, and gives their answers.
async fn at_once<T, F>(store: &Arc<dyn Store>, call: impl Fn(Arc<dyn Store>, u64) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(usize::try_from(CALLERS).expect("a small number")));
    let tasks: Vec<_> = (1..=CALLERS)
        .map(|caller| {
            let (barrier, call) = (Arc::clone(&barrier), call(Arc::clone(store), caller));
            tokio::spawn(async move {
                barrier.wait().await;
                call.await
            })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("a task that does not panic"));
    }
    answers
}

/// One call of a random sequence; numbers name codes, grants, devices and browsers.
#[derive(Clone, Debug)]
enum Call {
    Record(u64),
    Redeem(u64, u64),
    Rotate(u64),
    RotateAsReadAtFirst(u64),
    Extend(u64, u64),
    End(u64, EndedBy),
    Assert(u64, u64),
    RevokeToken(u64, u64),
    Sign(u64),
    Leave(u64),
    Use(u64, u64),
    See(u64),
    Disable(u64),
    Enable(u64),
    AddKey(u64, u64),
    Take(u64),
    Begin(u64),
    Poll(u64),
    Claim(u64, u64),
    Decide(u64, u64, bool),
    RedeemDevice(u64, u64),
    Push(u64),
    Answer(u64),
    EndTransaction(u64),
    Pass(u64),
    Sweep(u32),
}

fn call() -> impl Strategy<Value = Call> {
    let few = || 1_u64..4;
    prop_oneof![
        few().prop_map(Call::Record),
        (few(), few()).prop_map(|(code, grant)| Call::Redeem(code, grant)),
        few().prop_map(Call::Rotate),
        few().prop_map(Call::RotateAsReadAtFirst),
        (few(), 0_u64..200).prop_map(|(grant, seconds)| Call::Extend(grant, seconds)),
        (few(), prop_oneof![Just(EndedBy::Fork), Just(EndedBy::Revoked)])
            .prop_map(|(grant, why)| Call::End(grant, why)),
        (few(), 0_u64..100).prop_map(|(key, seconds)| Call::Assert(key, seconds)),
        (few(), 0_u64..100).prop_map(|(token, seconds)| Call::RevokeToken(token, seconds)),
        few().prop_map(Call::Sign),
        few().prop_map(Call::Leave),
        (few(), 0_u64..60).prop_map(|(session, seconds)| Call::Use(session, seconds)),
        few().prop_map(Call::See),
        few().prop_map(Call::Disable),
        few().prop_map(Call::Enable),
        (few(), few()).prop_map(|(generation, earlier)| Call::AddKey(generation, earlier)),
        few().prop_map(Call::Take),
        few().prop_map(Call::Begin),
        few().prop_map(Call::Poll),
        (few(), few()).prop_map(|(device, browser)| Call::Claim(device, browser)),
        (few(), few(), proptest::bool::ANY)
            .prop_map(|(device, browser, approves)| Call::Decide(device, browser, approves)),
        (few(), few()).prop_map(|(device, grant)| Call::RedeemDevice(device, grant)),
        few().prop_map(Call::Push),
        few().prop_map(Call::Answer),
        few().prop_map(Call::EndTransaction),
        (0_u64..90).prop_map(Call::Pass),
        Just(Call::Sweep(100)), // everything at once: which records go first is up to the store
    ]
}

/// Makes a call of a store, and puts what it answered, and what can be read afterwards, in words.
async fn make(store: &dyn Store, call: &Call, now: &mut Timestamp) -> String {
    let answer = match *call {
        Call::Record(number) => {
            let code = CodeRecord { expires_at: *now + SECOND * 60, ..code(number) };
            format!("{:?}", store.record_code(&code).await)
        }
        Call::Redeem(number, to) => {
            // A handle is drawn at random and never meets itself again; a number here might.
            let taken = store.grant(grant(to).handle).await.expect("an answer").is_some();
            let lasts = Grant { idle_expires_at: *now + SECOND * 100, expires_at: *now + SECOND * 200, ..grant(to) };
            if taken {
                String::new()
            } else {
                format!("{:?}", store.redeem_code(code(number).digest, &lasts, *now).await)
            }
        }
        Call::Rotate(number) => match store.grant(grant(number).handle).await.expect("an answer") {
            Some(grant) => format!("{:?}", store.rotate(&rotation(&grant, now.millis().cast_unsigned())).await),
            None => String::new(),
        },
        Call::RotateAsReadAtFirst(number) => format!("{:?}", store.rotate(&rotation(&grant(number), 1)).await),
        Call::Extend(number, seconds) => {
            format!(
                "{:?}",
                store
                    .extend_grant(grant(number).handle, *now + SECOND * u32::try_from(seconds).expect("few"), *now)
                    .await
            )
        }
        Call::End(number, why) => format!("{:?}", store.end_grant(grant(number).handle, why, *now).await),
        Call::Assert(number, seconds) => {
            let expires = *now + Duration::from_secs(seconds);
            format!("{:?}", store.spend_assertion(assertion(number), expires, *now).await)
        }
        Call::RevokeToken(number, seconds) => {
            let expires = *now + Duration::from_secs(seconds);
            format!("{:?}", store.revoke_token(TokenName(bytes(number)), expires, *now).await)
        }
        Call::Sign(number) => {
            let taken = store.session(session(number).digest, Timestamp::default()).await.expect("an answer").is_some();
            let session = SessionRecord {
                idle_expires_at: *now + SECOND * 30,
                expires_at: *now + SECOND * 60,
                ..session(number)
            };
            if taken { String::new() } else { format!("{:?}", store.open_session(&session).await) }
        }
        Call::Leave(number) => format!("{:?}", store.end_session(session(number).digest).await),
        Call::Use(number, seconds) => {
            let idle_expires_at = *now + Duration::from_secs(seconds);
            format!("{:?}", store.extend_session(session(number).digest, idle_expires_at).await)
        }
        Call::See(number) => {
            let person =
                PersonRecord { last_seen: *now, needed_until: *now + SECOND * 60, email: None, ..person(number) };
            format!("{:?}", store.remember_person(&person).await)
        }
        Call::Disable(number) => format!("{:?}", store.disable_person(&person(number).subject, *now).await),
        Call::Enable(number) => format!("{:?}", store.enable_person(&person(number).subject).await),
        Call::AddKey(generation, earlier) => {
            let moved = KeyRecord { drop_at: *now, ..key(earlier) };
            let moved = Some(moved).filter(|moved| moved.generation != generation); // which is not an earlier one
            let moved = moved.map(|next| Rescheduled { read: key(earlier), next });
            format!("{:?}", store.add_signing_key(&key(generation), moved.as_slice()).await)
        }
        Call::Take(number) => format!("{:?}", store.take_code(code(number).digest, *now).await),
        Call::Begin(number) => {
            let device = DeviceRecord { expires_at: *now + SECOND * 60, ..device(number) };
            format!("{:?}", store.record_device(&device).await)
        }
        Call::Poll(number) => {
            let device = device(number);
            format!("{:?}", store.poll_device(device.digest, &device.client_id, *now).await)
        }
        Call::Claim(number, by) => {
            format!("{:?}", store.claim_device(device(number).user_code, browser(by), *now).await)
        }
        Call::Decide(number, by, approves) => {
            let decision = if approves { approval() } else { Decision::Decline };
            format!("{:?}", store.decide_device(device(number).digest, browser(by), &decision, *now).await)
        }
        Call::RedeemDevice(number, to) => {
            let taken = store.grant(grant(to).handle).await.expect("an answer").is_some();
            if taken {
                String::new()
            } else {
                format!("{:?}", store.redeem_device(device(number).digest, &grant(to), *now).await)
            }
        }
        Call::Push(number) => {
            let request = PushedRequest { expires_at: *now + SECOND * 60, ..pushed(number) };
            let taken = store.pushed_request(request.digest).await.expect("an answer").is_some();
            if taken { String::new() } else { format!("{:?}", store.push_request(&request, *now).await) }
        }
        Call::Answer(number) => format!("{:?}", store.answer_pushed_request(pushed(number).transaction).await),
        Call::EndTransaction(number) => {
            format!("{:?}", store.end_transaction(code(number).transaction, *now + SECOND * 60).await)
        }
        Call::Pass(seconds) => {
            *now = *now + Duration::from_secs(seconds);
            String::new()
        }
        Call::Sweep(limit) => format!("{:?}", store.sweep(*now, limit).await),
    };
    // When is another matter: one of the stores has a clock of its own.
    let ended = store.ended_since(Timestamp::default(), Timestamp::default()).await.expect("an answer");
    let grants: BTreeSet<_> = ended.grants.iter().map(|(grant, _)| grant.0).collect();
    let tokens: BTreeMap<_, _> = ended.tokens.iter().map(|(token, until)| (token.0, *until)).collect();
    let mut seen = vec![answer, format!("{:?}", store.signing_keys().await), format!("{grants:?} {tokens:?}")];
    for number in 1..4 {
        seen.push(format!("{:?}", store.code(code(number).digest).await));
        seen.push(format!("{:?}", store.grant(grant(number).handle).await));
        seen.push(format!("{:?}", store.device(device(number).digest).await));
        seen.push(format!("{:?}", store.pushed_request(pushed(number).digest).await));
        seen.push(format!("{:?}", store.is_token_revoked(TokenName(bytes(number))).await));
        seen.push(format!("{:?}", store.session(session(number).digest, *now).await));
        let found = store.person(&person(number).subject).await.expect("an answer");
        seen.push(format!("{:?}", found.map(|found| (found.disabled, found.last_seen, found.needed_until))));
    }
    seen.join("\n")
}

/// How many sequences of calls are tried: `PROPTEST_CASES`, or a few.
fn cases() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "whoever wants more says so")]
    let given = std::env::var("PROPTEST_CASES");
    given.map_or(24, |cases| cases.parse().expect("a number"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// What one store answers, the others answer.
    #[test]
    fn stores_agree_on_any_sequence_of_calls(calls in proptest::collection::vec(call(), 1..40)) {
        let limits = Limits {
            codes: 2,
            grants: 2,
            grants_per_person: 1,
            devices: 2,
            pushed_requests: 2,
            pushed_requests_per_client: 1,
            clients: 100,
            sessions: 2,
            session_clients: 2,
            people: 2,
            assertions: 2,
            revocations: 2,
            access_tokens: 2,
            kept: SECOND * 30,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (memory, sqlite) = (memory(limits), sqlite(limits));
        let postgres = runtime.block_on(postgres(limits));
        let (mut one, mut other, mut third) = (now(), now(), now());
        for call in &calls {
            runtime.block_on(async {
                let answer = make(&*memory.store, call, &mut one).await;
                prop_assert_eq!(&answer, &make(&*sqlite.store, call, &mut other).await, "SQLite after {:?}", call);
                prop_assert_eq!(&answer, &make(&*postgres.store, call, &mut third).await, "PostgreSQL after {:?}", call);
                Ok(())
            })?;
        }
    }
}
