//! People from a file (`login: { local: { users_file: … } }`), with Argon2id hashes (RFC 9106) of their passwords.
//!
//! Invariant: an unknown name, a wrong password and a disabled person cost the same work and get the same answer. Hashing
//! never occupies a thread that serves requests, and neither its memory nor its queue grows with the number of callers.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{ARGON2ID_IDENT, Argon2, Params, PasswordHasher as _, PasswordVerifier as _};
use async_trait::async_trait;
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::attempts::buckets;
use super::{Attempt, Authentication, Passwords, People, Person};
use crate::ident::Subject;
use crate::jose::Members;
use crate::store::Unavailable;
use crate::throttle::{Counted, Throttle};

/// How many passwords are hashed at a time: each takes a core and, with the parameters of [`hash_password`], 19 MiB.
const HASHING: usize = 2;

/// How many more may wait for their turn.
const WAITING: usize = 32;

/// The longest name and the longest password that are looked at, in bytes.
const USERNAME_LIMIT: usize = 256;
const PASSWORD_LIMIT: usize = 1_024;

/// The most memory that a hash in the file may ask for, in KiB.
const MEMORY_LIMIT: u32 = 256 * 1_024;

/// The file, as YAML may say it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    users: Vec<Entry>,
}

/// A person, as YAML may say it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    username: Spanned<String>,
    password_hash: Spanned<String>,
    subject: Spanned<String>,
    name: Option<String>,
    #[serde(default)]
    disabled: bool,
    email: Option<String>,
    #[serde(default)]
    claims: Members,
}

/// What is wrong with a users file: every mistake, in the order of the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UsersFault(pub Vec<Mistake>);

/// A mistake in a users file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// Counts from 1; 0 if unknown.
    pub line: u64,
    /// Counts from 1; 0 if unknown.
    pub column: u64,
    /// What is wrong, without repeating a hash.
    pub message: String,
}

impl Mistake {
    fn at(place: Location, message: impl Into<String>) -> Self {
        Self { line: place.line(), column: place.column(), message: message.into() }
    }
}

impl fmt::Display for UsersFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Mistake { line, column, message }) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{line}:{column}: {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for UsersFault {}

/// A user of the file.
struct User {
    person: Person,
    hash: Arc<PasswordHash>,
    disabled: bool,
}

/// The people of a users file.
pub struct LocalUsers {
    by_name: HashMap<String, User>,
    active: HashMap<Subject, Person>,
    /// Verified where a name is unknown, so that it takes as long as for a known one.
    decoy: Arc<PasswordHash>,
    desk: Arc<Desk>,
}

/// Where people show their passwords. It outlives a users file, which forgives nobody.
struct Desk {
    attempts: Throttle,
    queue: Semaphore,
    hashing: Arc<Semaphore>,
}

impl Default for Desk {
    fn default() -> Self {
        let (queue, hashing) = (Semaphore::new(HASHING + WAITING), Arc::new(Semaphore::new(HASHING)));
        Self { attempts: Throttle::default(), queue, hashing }
    }
}

/// Judges a users file without keeping anybody: everybody's subject.
///
/// # Errors
/// Everything that is wrong with it.
pub fn users_file_subjects(text: &str) -> Result<Vec<Subject>, UsersFault> {
    text.parse::<LocalUsers>().map(|users| users.subjects().cloned().collect())
}

/// Reads a users file.
impl FromStr for LocalUsers {
    type Err = UsersFault;

    fn from_str(text: &str) -> Result<Self, UsersFault> {
        let file: File = serde_saphyr::from_str(text).map_err(|error| {
            let place = error.location().unwrap_or(Location::UNKNOWN);
            let message = error.without_snippet().to_string();
            UsersFault(vec![Mistake::at(place, message)])
        })?;
        let mut mistakes = Vec::new();
        let mut subjects = HashSet::new();
        let mut by_name = HashMap::new();
        for entry in file.users {
            let (username, place) = (entry.username.value.clone(), entry.username.referenced);
            let subject_place = entry.subject.referenced;
            let Some(user) = entry.check(&mut mistakes) else { continue };
            if !subjects.insert(user.person.subject.clone()) {
                mistakes.push(Mistake::at(subject_place, "another person has this subject"));
            }
            if by_name.insert(username, user).is_some() {
                mistakes.push(Mistake::at(place, "another person has this username"));
            }
        }
        if mistakes.is_empty() { Ok(Self::new(by_name)) } else { Err(UsersFault(mistakes)) }
    }
}

impl Entry {
    /// Turns an entry into a user, or notes everything that is wrong with it.
    fn check(self, mistakes: &mut Vec<Mistake>) -> Option<User> {
        let before = mistakes.len();
        let username = &self.username.value;
        if username.is_empty() || username.len() > USERNAME_LIMIT || username.chars().any(char::is_control) {
            let message = format!("username must be 1 to {USERNAME_LIMIT} bytes without control characters");
            mistakes.push(Mistake::at(self.username.referenced, message));
        }
        let subject = self.subject.value.parse::<Subject>();
        if let Err(fault) = &subject {
            mistakes.push(Mistake::at(self.subject.referenced, format!("subject {fault}")));
        }
        let hash = parse_hash(&self.password_hash.value);
        if hash.is_none() {
            let message = "password_hash must be what `tollgate hash-password` prints: $argon2id$v=19$…";
            mistakes.push(Mistake::at(self.password_hash.referenced, message));
        }
        let (Ok(subject), Some(hash)) = (subject, hash) else { return None };
        if mistakes.len() > before {
            return None;
        }
        let name = self.name.filter(|name| !name.is_empty()).unwrap_or_else(|| username.clone());
        let person = Person { subject, name, email: self.email, claims: self.claims };
        Some(User { person, hash: Arc::new(hash), disabled: self.disabled })
    }
}

/// Reads a PHC string of Argon2id with a salt, a hash and bounded parameters.
fn parse_hash(text: &str) -> Option<PasswordHash> {
    let hash = PasswordHash::new(text).ok()?;
    let params = Params::try_from(&hash).ok()?;
    let complete = hash.algorithm == ARGON2ID_IDENT && hash.salt.is_some() && hash.hash.is_some();
    (complete && params.m_cost() <= MEMORY_LIMIT).then_some(hash)
}

/// How much work a hash is.
fn cost(hash: &PasswordHash) -> u64 {
    Params::try_from(hash).map_or(0, |params| u64::from(params.m_cost()) * u64::from(params.t_cost()))
}

impl LocalUsers {
    fn new(by_name: HashMap<String, User>) -> Self {
        // The costliest hash of the file stands in for unknown names; nobody's password verifies against a name that
        // is not theirs, because an unknown name is refused whatever the hash says.
        let costliest = by_name.values().map(|user| &user.hash).max_by_key(|hash| cost(hash)).cloned();
        let active = by_name.values().filter(|user| !user.disabled).map(|user| &user.person);
        Self {
            active: active.map(|person| (person.subject.clone(), person.clone())).collect(),
            decoy: costliest.unwrap_or_else(|| Arc::new(hash_of(b"nobody has this password", Params::default()))),
            by_name,
            desk: Arc::default(),
        }
    }

    /// These people in the place of `earlier` ones: who has tried too often has still done so.
    #[must_use]
    pub fn after(self, earlier: &Self) -> Self {
        Self { desk: Arc::clone(&earlier.desk), ..self }
    }

    /// Everybody's subject: no client may have one of these as its `client_id` (RFC 9700 §4.15).
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.by_name.values().map(|user| &user.person.subject)
    }

    /// The subjects of those who may not sign in.
    pub fn disabled(&self) -> impl Iterator<Item = &Subject> {
        self.by_name.values().filter(|user| user.disabled).map(|user| &user.person.subject)
    }

    /// Verifies a password on a thread of its own, when it is its turn.
    async fn verify(&self, password: &str, hash: &Arc<PasswordHash>) -> Result<bool, Unavailable> {
        let _place = self.desk.queue.try_acquire().map_err(|_| Unavailable::Full)?;
        let turn = Arc::clone(&self.desk.hashing).acquire_owned().await.map_err(|_| Unavailable::Down)?;
        let (password, hash) = (Zeroizing::new(password.as_bytes().to_vec()), Arc::clone(hash));
        let verified = tokio::task::spawn_blocking(move || {
            let _turn = turn; // kept until the work is done, even if the caller went away
            Argon2::default().verify_password(&password, &*hash).is_ok()
        });
        verified.await.map_err(|_| Unavailable::Down)
    }
}

#[async_trait]
impl Passwords for LocalUsers {
    async fn authenticate(&self, attempt: Attempt<'_>) -> Result<Authentication, Unavailable> {
        if attempt.username.len() > USERNAME_LIMIT || attempt.password.len() > PASSWORD_LIMIT {
            return Ok(Authentication::Unknown);
        }
        let buckets = buckets(attempt.username, attempt.address);
        if let Counted::TooMany { retry_after } = self.desk.attempts.count(&buckets, attempt.now)? {
            return Ok(Authentication::Throttled { retry_after });
        }
        let user = self.by_name.get(attempt.username);
        let verified = self.verify(attempt.password, user.map_or(&self.decoy, |user| &user.hash)).await?;
        match user.filter(|user| verified && !user.disabled) {
            Some(user) => {
                self.desk.attempts.take_back(&buckets);
                Ok(Authentication::Known(user.person.clone()))
            }
            None => Ok(Authentication::Unknown),
        }
    }
}

#[async_trait]
impl People for LocalUsers {
    async fn person(&self, subject: &Subject) -> Result<Option<Person>, Unavailable> {
        Ok(self.active.get(subject).cloned())
    }
}

/// Why a password cannot be hashed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PasswordFault {
    /// There is none.
    #[error("the password is empty")]
    Empty,
    /// Nobody could sign in with it.
    #[error("the password is longer than 1024 bytes")]
    TooLong,
}

/// Hashes a password for the users file: Argon2id, 19 MiB, two passes, one lane (OWASP's first choice), as a PHC string.
///
/// # Errors
/// [`PasswordFault`].
pub fn hash_password(password: &str) -> Result<String, PasswordFault> {
    match password.len() {
        0 => Err(PasswordFault::Empty),
        1..=PASSWORD_LIMIT => Ok(hash_of(password.as_bytes(), Params::default()).to_string()),
        _ => Err(PasswordFault::TooLong),
    }
}

fn hash_of(password: &[u8], params: Params) -> PasswordHash {
    let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    argon2.hash_password(password).expect("Argon2id hashes any short password")
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::clock::Timestamp;

    /// Cheap parameters, so that tests of rules do not wait for hashes.
    fn cheap(password: &str) -> String {
        hash_of(password.as_bytes(), Params::new(8, 1, 1, None).expect("parameters")).to_string()
    }

    fn people() -> LocalUsers {
        let text = format!(
            "users:\n  - {{ username: ada, password_hash: \"{}\", subject: 0b6f, name: Ada, email: ada@example.com, \
             claims: {{ department: ops, level: 3 }} }}\n  - {{ username: eve, password_hash: \"{}\", subject: 1c, \
             disabled: true }}\n",
            cheap("correct horse"),
            cheap("battery staple"),
        );
        text.parse().expect("a users file")
    }

    async fn sign_in(people: &LocalUsers, username: &str, password: &str) -> Result<Authentication, Unavailable> {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        people.authenticate(Attempt { username, password, address, now: Timestamp::from_seconds(1) }).await
    }

    #[tokio::test]
    async fn only_the_right_password_of_an_active_person_signs_in() {
        let people = people();
        let claims = crate::jose::object(br#"{ "department": "ops", "level": 3 }"#).expect("a JSON object");
        let (subject, email) = ("0b6f".parse().expect("a subject"), Some("ada@example.com".to_owned()));
        let ada = Person { subject, name: "Ada".to_owned(), email, claims };
        assert_eq!(sign_in(&people, "ada", "correct horse").await, Ok(Authentication::Known(ada.clone())));
        for (username, password) in [
            ("ada", "battery staple"),
            ("ada", ""),
            ("Ada", "correct horse"),
            ("eve", "battery staple"),
            ("x", "correct horse"),
        ] {
            assert_eq!(sign_in(&people, username, password).await, Ok(Authentication::Unknown), "{username}");
        }
        let long = "x".repeat(PASSWORD_LIMIT + 1);
        assert_eq!(sign_in(&people, "ada", &long).await, Ok(Authentication::Unknown));
        assert_eq!(people.person(&ada.subject).await, Ok(Some(ada)));
        assert_eq!(people.person(&"1c".parse().expect("a subject")).await, Ok(None));
    }

    #[tokio::test]
    async fn guessing_ends_in_waiting() {
        let people = people();
        for _ in 0..10 {
            assert_eq!(sign_in(&people, "ada", "wrong").await, Ok(Authentication::Unknown));
        }
        assert!(matches!(sign_in(&people, "ada", "correct horse").await, Ok(Authentication::Throttled { .. })));
    }

    #[tokio::test]
    async fn a_full_queue_is_unavailable() {
        let people = people();
        let _all = people.desk.queue.try_acquire_many(34).expect("nobody else waits");
        assert_eq!(sign_in(&people, "ada", "correct horse").await, Err(Unavailable::Full));
    }

    #[test]
    fn every_mistake_of_a_file_has_its_place() {
        let hash = cheap("x");
        let text = format!(
            "users:\n- {{ username: a, subject: s, password_hash: \"{hash}\" }}\n- {{ username: a, subject: s, password_hash: \
             \"{hash}\" }}\n- username: \"\"\n  subject: \"\"\n  password_hash: $2y$10$bcrypt\n"
        );
        let UsersFault(mistakes) = text.parse::<LocalUsers>().err().expect("five mistakes");
        let places: Vec<_> = mistakes.iter().map(|mistake| (mistake.line, mistake.message.split(' ').next())).collect();
        assert_eq!(
            places,
            [
                (3, Some("another")),
                (3, Some("another")),
                (4, Some("username")),
                (5, Some("subject")),
                (6, Some("password_hash"))
            ]
        );
        for bad in ["users: 1", "people: []", "users:\n- { username: a, subject: s, password_hash: x, admin: true }"] {
            let UsersFault(mistakes) = bad.parse::<LocalUsers>().err().expect("a mistake");
            assert!(mistakes[0].line > 0, "{bad}: {mistakes:?}");
        }
    }

    #[test]
    fn printed_hashes_are_read_back() {
        let hash = hash_password("correct horse").expect("a password");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(parse_hash(&hash).is_some());
        assert_eq!(hash_password(""), Err(PasswordFault::Empty));
    }
}
