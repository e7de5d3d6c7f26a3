//! Judges a file: what must be there, and what fits together. Goes on after a mistake, so that all are found.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::client_certificate::Certificates;
use super::duration::{self, Lifetime};
use super::file::{
    AdminFile, AdminTlsFile, AuthorizationServerFile, ExtAuthzFile, File, ListenFile, LogFile, OutwardTlsFile,
    ShutdownFile, SocketAccess, SocketMode,
};
use super::given::{Given, Parsed};
use super::listen_address::TcpAddress;
use super::mistake::{Mistake, Place};
use super::{
    AdminApi, AuthorizationServer, Config, Listen, Login, PublicListener, Shutdown, authorization_server, issuer,
    named_file, protected_resource,
};
use crate::certificate::Authorities;
use crate::fetch::Roots;
use crate::grpc::{Access, GateListener, ListenAddress};
use crate::oauth::Client;
use crate::telemetry::LogFilter;
use crate::web::TlsFiles;

/// The longest text that a page shows to people, in characters.
const SHOWN_LIMIT: usize = 200;

/// Of how many allowed requests one may be logged: who wants fewer leaves it out.
const RAREST_SAMPLE: u32 = 1_000_000;

/// The longest path of a socket, in bytes: what `sun_path` holds without its final zero.
const SOCKET_PATH_LIMIT: usize = 107;

/// Judges a file. `None` only if there are mistakes.
pub(super) fn config(
    file: &Given<File>,
    directory: &Path,
    (mistakes, files): (&mut Vec<Mistake>, &mut Vec<PathBuf>),
) -> Option<Config> {
    let mut judge = Judge { directory, mistakes, files: Vec::new() };
    let config = everything(&mut judge, file);
    files.append(&mut judge.files);
    config
}

fn everything(judge: &mut Judge<'_>, file: &Given<File>) -> Option<Config> {
    let place = &file.place;
    let File {
        listen,
        shutdown,
        log,
        store,
        replay,
        nonce_keys,
        tls,
        authorization_server,
        protected_resources,
        issuers: _,
    } = &file.value;

    let nothing = authorization_server.is_none() && protected_resources.is_none();
    if nothing && !place.lost("authorization_server") && !place.lost("protected_resources") {
        let mistake = Mistake::about(place, "configures nothing to do");
        judge.report(mistake.help("configure `authorization_server`, `protected_resources` or both"));
    }
    let listen_file = listen.as_ref();
    let (listen, client_ca) = self::listen(judge, listen_file);
    let shutdown = self::shutdown(judge, shutdown.as_ref());
    let (log, one_logged_in) = self::log(judge, log.as_ref());
    let replay_file = replay.as_ref();
    let replay = if place.lost("replay") { None } else { super::replay::judge(judge, replay_file) };
    let issues = authorization_server.is_some();
    let nonce_keys = super::replay::nonce_keys(judge, nonce_keys.as_ref(), (replay_file, issues));
    let roots = roots(judge, tls.as_ref());
    let limits = super::store::limits(judge, store.as_ref());
    let store = if place.lost("store") { None } else { super::store::judge(judge, store.as_ref()) };
    let server_file = authorization_server.as_ref();
    if let (Some(store), Some(_), Some(_)) = (&store, &replay, server_file) {
        super::replay::check_replicas(judge, replay_file, (store, place));
    }
    let own = protected_resource::Own::of(file);
    let issuers = issuer::all(judge, file, own.issuer.as_ref(), own.window.skew);
    let resources = protected_resource::all(judge, file, &own);
    let certificates = certificates(listen_file);
    if let Some(server) = server_file {
        authorization_server::check_gate(judge, server, file);
    }
    let server =
        server_file.map(|server| authorization_server::judge(judge, server, store.as_ref(), &resources, certificates));
    let mut authorization_server = match server {
        Some(server) => Some(server?),
        None => None,
    };
    if let (Some(given), Some(server)) = (server_file, &authorization_server) {
        check_admin_api(judge, given, server, &listen, listen_file);
    }
    if let Some(server) = &mut authorization_server {
        server.settings.mutual_tls = (listen.public.tls.is_some() || listen.public.forwarded_certificates)
            && server.settings.clients.iter().any(Client::uses_certificates);
        server.settings.client_authorities = client_ca;
        server.settings.opaque_resources = protected_resource::opaque(file);
    }
    let lifetimes = authorization_server.as_ref().map(|server| &server.settings.lifetimes);
    // What was spent is remembered as long as anything that came from it could be used.
    let kept = lifetimes.map(|lifetimes| lifetimes.access_token.max(lifetimes.transaction));
    let limits = crate::store::Limits { kept: kept.unwrap_or_default().max(limits.kept), ..limits };
    let protected_resources = resources;
    let replay = replay?;
    let (store, digest) = (store?, [0; 32]); // of which the document knows
    Some(Config {
        listen,
        shutdown,
        log,
        one_logged_in,
        store,
        limits,
        replay,
        nonce_keys,
        roots: roots?,
        authorization_server,
        issuers,
        protected_resources,
        digest,
    })
}

/// What is logged, and one in how many allowed requests.
fn log(judge: &mut Judge<'_>, given: Option<&Given<LogFile>>) -> (LogFilter, Option<NonZeroU32>) {
    let Some(Given { value: LogFile { filter, allowed }, .. }) = given else { return (LogFilter::default(), None) };
    let filter = filter.as_ref().map(|filter| filter.value.0.clone()).unwrap_or_default();
    let one_in = allowed.as_ref().and_then(|allowed| {
        let one_in = NonZeroU32::new(allowed.value).filter(|one_in| one_in.get() <= RAREST_SAMPLE);
        if one_in.is_none() {
            judge.report(Mistake::about(&allowed.place, format!("must be from 1 to {RAREST_SAMPLE}")));
        }
        one_in
    });
    (filter, one_in)
}

/// Whose certificates count where others are asked. `None` only if there are mistakes.
fn roots(judge: &mut Judge<'_>, given: Option<&Given<OutwardTlsFile>>) -> Option<Roots> {
    match given.and_then(|given| given.value.roots.as_ref()) {
        Some(given) => named_file::authority_text(judge, given).map(Roots::only),
        None => Some(Roots::default()),
    }
}

/// How the process ends.
fn shutdown(judge: &mut Judge<'_>, given: Option<&Given<ShutdownFile>>) -> Shutdown {
    let absent = ShutdownFile::default();
    let file = given.map_or(&absent, |given| &given.value);
    Shutdown {
        delay: file.delay.as_ref().map_or(Duration::from_secs(5), |given| given.value.0.0),
        deadline: judge.duration(file.deadline.as_ref(), Duration::from_secs(20), Some(Duration::from_mins(10))),
    }
}

/// An external login is nothing without the door through which it comes, and that door must not be where Envoy's is.
fn check_admin_api(
    judge: &mut Judge<'_>,
    given: &Given<AuthorizationServerFile>,
    server: &AuthorizationServer,
    listen: &Listen,
    listen_file: Option<&Given<ListenFile>>,
) {
    let admin = listen_file.and_then(|given| given.value.admin.as_ref());
    let lost = listen_file.is_some_and(|given| given.place.lost("admin"))
        || admin.is_some_and(|given| given.place.lost("grpc") || given.value.grpc.is_some());
    match (&listen.admin_api, &server.login) {
        (None, Some(Login::External)) if !lost => {
            let place = given.value.login.as_ref().map_or(&given.place, |login| &login.place);
            let mistake = Mistake::about(place, "is `external` and lacks the socket through which that login comes");
            judge.report(mistake.help("set `listen: { admin: { grpc: \"unix:/run/tollgate/admin.sock\" } }`"));
        }
        (Some(AdminApi::Socket { path, .. }), _)
            if listen.ext_authz.iter().any(|gate| gate.address == ListenAddress::Unix(path.clone())) =>
        {
            let grpc = admin.and_then(|given| given.value.grpc.as_ref());
            let place = grpc.map_or(&given.place, |grpc| &grpc.place);
            let mistake = Mistake::about(place, "is taken: `listen.ext_authz` is there");
            judge.report(mistake.help("give each listener a socket of its own"));
        }
        (None | Some(_), _) => {}
    }
}

/// What every judge needs.
pub(super) struct Judge<'a> {
    /// What paths are relative to.
    directory: &'a Path,
    mistakes: &'a mut Vec<Mistake>,
    /// The files that the file names and whose contents decide.
    files: Vec<PathBuf>,
}

impl<'a> Judge<'a> {
    /// A judge whose findings nobody needs.
    pub(super) fn aside(mistakes: &'a mut Vec<Mistake>) -> Self {
        Self { directory: Path::new(""), mistakes, files: Vec::new() }
    }

    /// Adds a mistake.
    pub(super) fn report(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// The value of a setting that must be there. It is no second mistake to lack what was taken out for a first.
    pub(super) fn required<'f, T>(&mut self, parent: &Place, key: &str, value: Option<&'f T>) -> Option<&'f T> {
        if value.is_none() && !parent.lost(key) {
            self.report(Mistake::about(parent, format!("lacks `{key}`")));
        }
        value
    }

    /// A duration, or its default.
    pub(super) fn duration(
        &mut self,
        given: Option<&Given<Lifetime>>,
        default: Duration,
        longest: Option<Duration>,
    ) -> Duration {
        let Some(given) = given else { return default };
        let duration = given.value.0;
        if let Some(longest) = longest.filter(|longest| duration > *longest) {
            let longest = duration::written(longest);
            self.report(Mistake::about(&given.place, format!("must be at most \"{longest}\"")));
        }
        duration
    }

    /// Reports a text that is shown to people and cannot be read by them.
    pub(super) fn readable(&mut self, given: &Given<String>) {
        let length = given.value.chars().count();
        if !(1..=SHOWN_LIMIT).contains(&length) || given.value.chars().any(char::is_control) {
            let predicate = format!("must be 1 to {SHOWN_LIMIT} characters on one line: people are shown it");
            self.report(Mistake::about(&given.place, predicate));
        }
    }

    /// A path, relative to the directory of the file.
    pub(super) fn path(&self, given: &str) -> PathBuf {
        self.directory.join(given)
    }

    /// The same, of a file that is read: when it changes, the configuration does.
    pub(super) fn file(&mut self, given: &str) -> PathBuf {
        let path = self.path(given);
        self.files.push(path.clone());
        path
    }

    /// Reports every value that was given before, in words that say what is twice. What was given first is fine.
    pub(super) fn once<'f, T: Eq + std::hash::Hash>(
        &mut self,
        values: impl IntoIterator<Item = (T, &'f Place)>,
        predicate: &str,
    ) {
        let mut seen = HashSet::new();
        for (value, place) in values {
            if !seen.insert(value) {
                self.report(Mistake::about(place, predicate));
            }
        }
    }
}

/// Whether clients can show certificates, as far as the file says: what is given and wrong is reported elsewhere.
fn certificates(given: Option<&Given<ListenFile>>) -> Certificates {
    let public = given.and_then(|given| given.value.public.as_ref());
    let lost =
        given.is_some_and(|given| given.place.lost("public")) || public.is_some_and(|public| public.place.lost("tls"));
    let tls = public.and_then(|public| public.value.tls.as_ref());
    let forwarded = public.and_then(|public| public.value.forwarded_certificates.as_ref());
    let client_ca = tls.is_some_and(|tls| tls.value.client_ca.is_some() || tls.place.lost("client_ca"))
        || forwarded.is_some_and(|given| given.value.client_ca.is_some() || given.place.lost("client_ca"));
    Certificates { can_be_shown: tls.is_some() || forwarded.is_some() || lost, can_be_vouched_for: client_ca || lost }
}

fn listen(judge: &mut Judge<'_>, given: Option<&Given<ListenFile>>) -> (Listen, Option<Authorities>) {
    let absent = ListenFile::default();
    let ListenFile { public, ext_authz, admin } = given.map_or(&absent, |given| &given.value);
    let admin_api = admin.as_ref().and_then(|given| admin_api(judge, given));
    let public_file = public.as_ref();
    let public = public_file.and_then(|given| given.value.address.as_ref());
    let admin = admin.as_ref().and_then(|given| given.value.address.as_ref());
    let default = || {
        let address = ListenAddress::Unix("/run/tollgate/authz.sock".into());
        vec![(GateListener { address, access: Access::Group }, None)]
    };
    let ext_authz = ext_authz.as_ref().map_or_else(default, |given| self::ext_authz(judge, given));
    let place = |given: Option<&'_ Given<Parsed<TcpAddress>>>| given.map(|address| address.place.clone());
    let (public_place, admin_place) = (place(public), place(admin));
    let public = public.map_or(([127, 0, 0, 1], 8080).into(), |address| address.value.0.0);
    let admin = admin.map_or(([127, 0, 0, 1], 9090).into(), |address| address.value.0.0);
    let mut taken = vec![("public", public, public_place), ("admin", admin, admin_place)];
    let tcp = |(gate, place): &(GateListener, Option<Place>)| match &gate.address {
        ListenAddress::Tcp(tcp) => Some(("ext_authz", *tcp, place.clone())),
        ListenAddress::Unix(_) => None,
    };
    taken.extend(ext_authz.iter().filter_map(tcp));
    if let Some((AdminApi::Port { address, .. }, place)) = &admin_api {
        taken.push(("admin.grpc", *address, Some(place.clone())));
    }
    let admin_api = admin_api.map(|(api, _)| api);
    check_taken(judge, &taken);
    let tls = public_file.and_then(|given| given.value.tls.as_ref());
    let forwarded = public_file.and_then(|given| given.value.forwarded_certificates.as_ref());
    if let (Some(forwarded), Some(tls)) = (forwarded, tls) {
        let mistake =
            Mistake::about(&forwarded.place, "stands beside `tls`: either a proxy ends TLS or this server does");
        judge.report(mistake.help(format!("take one of the two out; the other is `{}`", tls.place.path)));
    }
    let client_ca = match (tls, forwarded) {
        (Some(tls), _) => tls.value.client_ca.as_ref(),
        (None, Some(forwarded)) => forwarded.value.client_ca.as_ref(),
        (None, None) => None,
    };
    let client_ca = client_ca.and_then(|given| named_file::authorities(judge, given));
    let proxies = public_file.and_then(|given| given.value.trusted_proxies.as_ref());
    let proxies = proxies.map(|given| given.value.as_slice()).unwrap_or_default();
    judge.once(proxies.iter().map(|one| (&one.value.0.0, &one.place)), "is given twice");
    if let Some(forwarded) = forwarded.filter(|_| proxies.is_empty())
        && !public_file.is_some_and(|public| public.place.lost("trusted_proxies"))
    {
        let mistake = Mistake::about(&forwarded.place, "counts from `trusted_proxies` only, and there are none");
        judge.report(mistake.help("name the proxy beside it: `trusted_proxies: [127.0.0.1]`"));
    }
    let trusted_proxies = proxies.iter().map(|one| one.value.0.0).collect();
    let tls = tls.and_then(|tls| {
        let files = (tls.value.certificate.as_ref(), tls.value.private_key.as_ref());
        tls_files(judge, &tls.place, files)
    });
    let public = PublicListener { address: public, trusted_proxies, forwarded_certificates: forwarded.is_some(), tls };
    let ext_authz = ext_authz.into_iter().map(|(gate, _)| gate).collect();
    (Listen { public, ext_authz, admin, admin_api }, client_ca)
}

/// The door of our own API, and where it is given.
fn admin_api(judge: &mut Judge<'_>, given: &Given<AdminFile>) -> Option<(AdminApi, Place)> {
    let AdminFile { grpc, grpc_access, grpc_tls, .. } = &given.value;
    let is_tcp = grpc.as_ref().is_some_and(|grpc| matches!(grpc.value.0, ListenAddress::Tcp(_)));
    let opened = grpc_access.as_ref().filter(|access| is_tcp || access.value == SocketAccess::Group);
    if let Some(access) = opened.filter(|_| (grpc.is_none() || is_tcp) && !given.place.lost("grpc")) {
        let mistake = Mistake::about(&access.place, "is for a socket that is not there");
        judge.report(mistake.help("set `grpc: \"unix:/run/tollgate/admin.sock\"` beside it"));
    }
    if let Some(tls) = grpc_tls.as_ref().filter(|_| !is_tcp && !given.place.lost("grpc")) {
        let mistake = Mistake::about(&tls.place, "is for `grpc` at an address and a port, which is not there");
        judge.report(mistake.help("set `grpc: 0.0.0.0:9443` beside it"));
    }
    let grpc = grpc.as_ref()?;
    let api = match &grpc.value.0 {
        ListenAddress::Unix(path) => {
            let path = judge.directory.join(path);
            check_socket_path(judge, &path, &grpc.place);
            let access = match grpc_access.as_ref().map(|given| given.value) {
                None | Some(SocketAccess::Owner) => Access::Owner,
                Some(SocketAccess::Group) => Access::Group,
            };
            AdminApi::Socket { path, access }
        }
        ListenAddress::Tcp(address) => {
            let Some(tls) = grpc_tls else {
                if !given.place.lost("grpc_tls") {
                    let fault = "is a port and lacks `grpc_tls`: whoever may connect can end anything";
                    let help = "name certificates and clients in `grpc_tls`, or take `unix:/run/tollgate/admin.sock`";
                    judge.report(Mistake::about(&grpc.place, fault).help(help));
                }
                return None;
            };
            admin_port(judge, *address, tls)?
        }
    };
    Some((api, grpc.place.clone()))
}

/// A port of our own API: with certificates on both sides, or not at all.
fn admin_port(judge: &mut Judge<'_>, address: SocketAddr, given: &Given<AdminTlsFile>) -> Option<AdminApi> {
    let AdminTlsFile { certificate, private_key, client_ca, clients } = &given.value;
    let tls = tls_files(judge, &given.place, (certificate.as_ref(), private_key.as_ref()));
    let authorities = judge.required(&given.place, "client_ca", client_ca.as_ref());
    let authorities = authorities.and_then(|given| named_file::authorities(judge, given));
    let clients = judge.required(&given.place, "clients", clients.as_ref())?;
    if clients.value.is_empty() && clients.place.gaps.is_empty() {
        let mistake = Mistake::about(&clients.place, "names nobody: nobody could call");
        judge.report(mistake.help("name one, such as `dns:ops.example.com`"));
    }
    let clients = clients.value.iter().map(|client| client.value.0.clone()).collect();
    Some(AdminApi::Port { address, tls: tls?, authorities: authorities?, clients })
}

fn check_socket_path(judge: &mut Judge<'_>, path: &Path, place: &Place) {
    if path.as_os_str().len() > SOCKET_PATH_LIMIT {
        judge.report(Mistake::about(place, "must be at most 107 bytes long: no socket has a longer path"));
    }
}

/// Certificate and key are tried: what cannot be used now would stop the start.
fn tls_files(
    judge: &mut Judge<'_>,
    place: &Place,
    (certificate, private_key): (Option<&Given<String>>, Option<&Given<String>>),
) -> Option<TlsFiles> {
    let certificate = judge.required(place, "certificate", certificate);
    let private_key = judge.required(place, "private_key", private_key);
    let (certificate, private_key) = (certificate?, private_key?);
    let files = TlsFiles { certificate: judge.file(&certificate.value), private_key: judge.file(&private_key.value) };
    if let Err(fault) = files.read() {
        let at_fault = if fault.is_about_the_certificate(&files) { certificate } else { private_key };
        let mistake = Mistake::about(&at_fault.place, format!("cannot be used: {fault}"));
        judge.report(mistake.help("both files are PEM, and the first certificate is the server's own"));
        return None;
    }
    Some(files)
}

/// Reports doors of different kinds at one address. Those of one kind are compared where they are read.
fn check_taken(judge: &mut Judge<'_>, doors: &[(&str, SocketAddr, Option<Place>)]) {
    for (index, (door, address, place)) in doors.iter().enumerate() {
        let clashes = |(other, taken, _): &&(&str, SocketAddr, Option<Place>)| {
            let anywhere = address.ip().is_unspecified() || taken.ip().is_unspecified();
            // Port 0 is another port each time.
            other != door && address.port() != 0 && address.port() == taken.port() && (anywhere || address == taken)
        };
        let Some((other, taken, other_place)) = doors[..index].iter().find(clashes) else { continue };
        // One of the two may be a default.
        let (place, taken, other) = match (place, other_place) {
            (Some(place), _) => (place, taken, other),
            (None, Some(place)) => (place, address, door),
            (None, None) => continue,
        };
        let mistake = Mistake::about(place, format!("is taken: `listen.{other}` is at {taken}"));
        judge.report(mistake.help("give each listener a port of its own"));
    }
}

fn ext_authz(judge: &mut Judge<'_>, given: &Given<Vec<Given<ExtAuthzFile>>>) -> Vec<(GateListener, Option<Place>)> {
    if given.value.is_empty() && given.place.gaps.is_empty() {
        judge.report(Mistake::about(&given.place, "is empty").help("leave it out to listen at the default socket"));
    }
    let mut listeners = Vec::new();
    for item in &given.value {
        let Some(address) = judge.required(&item.place, "address", item.value.address.as_ref()) else { continue };
        let place = &address.place;
        let address = match &address.value.0 {
            ListenAddress::Tcp(address) => ListenAddress::Tcp(*address),
            ListenAddress::Unix(path) => ListenAddress::Unix(judge.directory.join(path)),
        };
        if let ListenAddress::Unix(path) = &address {
            check_socket_path(judge, path, place);
        }
        let mode = item.value.mode.as_ref();
        if let (ListenAddress::Tcp(_), Some(mode)) = (&address, mode) {
            judge.report(Mistake::about(&mode.place, "is for sockets, and this is a port").help("take it out"));
        }
        let access = match mode.map(|mode| mode.value) {
            Some(SocketMode::Owner) => Access::Owner,
            None | Some(SocketMode::Group) => Access::Group,
            Some(SocketMode::Everybody) => Access::Everybody,
        };
        listeners.push((GateListener { address, access }, place));
    }
    // Port 0 is another port each time.
    let fixed =
        |(gate, _): &&(GateListener, &Place)| !matches!(gate.address, ListenAddress::Tcp(tcp) if tcp.port() == 0);
    let fixed = listeners.iter().filter(fixed).map(|(gate, place)| (&gate.address, *place));
    judge.once(fixed, "is listened at already");
    listeners.into_iter().map(|(gate, place)| (gate, Some(place.clone()))).collect()
}
