//! `examples/fapi2.yaml` and `examples/openid-provider.yaml` as a certification suite drives them: the program, the real Envoy
//! and an API, started by `scripts/certification`, with TLS everywhere.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tollgate::clock::{Clock as _, SystemClock};

use crate::certification::{Material, Party, WAYS, Way, browser, http, private_key};
use crate::client::{Client, answer, claims, refresh_request};
use crate::interop::{node, repository};
use crate::machine::Running;
use crate::process::run;
use crate::world::free_port;

/// What the script started; all of it ends with the value.
struct Example {
    folder: TempDir,
    issuer: String,
    api: String,
    openid: String,
    group: String,
    running: Option<Running>,
}

impl Drop for Example {
    fn drop(&mut self) {
        if self.running.is_some() {
            // A test has failed: what the script has started would outlive it.
            let _ = std::process::Command::new("kill").args(["-KILL", "--", &format!("-{}", self.group)]).status();
        }
    }
}

impl Example {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (issuer, api, openid) = (free_port(), free_port(), free_port());
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/certification"));
        command
            .env("TOLLGATE_BIN", env!("CARGO_BIN_EXE_tollgate"))
            .env("FOLDER", folder.path().join("kept"))
            .env("TMPDIR", folder.path())
            .env("ISSUER_PORT", issuer.to_string())
            .env("API_PORT", api.to_string())
            .env("OPENID_PORT", openid.to_string())
            .env_remove("SUITE")
            .env_remove("PUBLIC_HOST")
            .env_remove("TOLLGATE_CONFIG")
            .stdin(std::process::Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        let running = Running::start(command);
        let group = running.id();
        let (issuer, api) = (format!("https://localhost:{issuer}"), format!("https://localhost:{api}/accounts"));
        let openid = format!("https://localhost:{openid}");
        let mut example = Self { folder, issuer, api, openid, group, running: Some(running) };
        let said = example.running.as_mut().expect("it runs").until("Ctrl-C").await;
        assert!(said.contains(&example.issuer) && said.contains(&example.api), "{said}");
        example
    }

    async fn stop(mut self) {
        let running = self.running.take().expect("it runs");
        assert_eq!(running.stop("-TERM").await, 143);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("kept").join(name)
    }

    fn trusted(&self) -> String {
        fs::read_to_string(self.path("ca.pem")).expect("an authority")
    }

    fn plan(&self, name: &str) -> Value {
        let text = fs::read_to_string(self.path(&format!("plan-{name}.json"))).expect("a plan");
        serde_json::from_str(&text).expect("JSON")
    }

    /// A party with what the plan gives to a certification suite, and nothing else.
    fn party(&self, plan: &Value, name: &str, way: Way) -> Party {
        let number = if name == "one" { "" } else { "2" };
        let client = &plan[format!("client{number}")];
        let certificate = &plan[format!("mtls{number}")];
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let pem = format!("{}\n{}", text(&certificate["cert"]), text(&certificate["key"]));
        let material = Material {
            issuer: &self.issuer,
            trusted: &text(&certificate["ca"]),
            name,
            key: &private_key(&client["jwks"]["keys"][0]),
            certificate: &pem,
        };
        let party = Party::new(&material, way);
        assert_eq!(client["client_id"], party.client.id);
        party
    }
}

/// What a plan tells the suite to type into a field of the page.
fn typed(plan: &Value, field: &str) -> String {
    let commands = plan["browser"][0]["tasks"][0]["commands"].as_array().expect("commands");
    let command = commands.iter().find(|command| command[2] == field).expect("the field");
    command[3].as_str().expect("text").to_owned()
}

#[tokio::test]
async fn every_client_of_the_example_reaches_the_api_in_its_way() {
    let example = Example::start().await;
    for way in WAYS {
        let plan = example.plan(way.name);
        let url = plan["server"]["discoveryUrl"].as_str().expect("a URL");
        let metadata = answer(http(&example.trusted(), None).get(url)).await.body;
        assert_eq!(metadata["issuer"], example.issuer);
        assert_eq!(plan["resource"]["resourceUrl"], example.api);

        let parties = ["one", "two"].map(|name| example.party(&plan, name, way));
        for (party, thief) in [(&parties[0], &parties[1]), (&parties[1], &parties[0])] {
            let now = SystemClock.now();
            let pushed = party.push(now).send().await.expect(201, "");
            let path = party.client.pushed_path(&pushed);
            let mut browser = browser(&example.issuer, &example.trusted());
            let back = browser.approve(&path, &typed(&plan, "username"), &typed(&plan, "password")).await;
            assert!(back.header("location").starts_with(&party.redirect_uri), "{back:?}");
            assert_eq!(back.parameter("state").as_deref(), Some("of the party"));
            assert_eq!(back.parameter("iss").as_deref(), Some(example.issuer.as_str()));

            let code = back.code();
            thief.redeem(now, &code).send().await.expect(400, "invalid_grant");
            let tokens = party.redeem(now, &code).send().await.expect_tokens();
            assert_eq!(claims(tokens.text("id_token"))["nonce"], "of the party too");
            let refresh = refresh_request(tokens.text("refresh_token"));
            let tokens = party.token(now, &refresh).send().await.expect_tokens();

            let token = tokens.text("access_token");
            let reached = party.fetch(now, &example.api, token).await;
            assert_eq!(reached.status, 200, "{reached:?}");
            assert_eq!(reached.body["client"], party.client.id);
            assert_eq!(reached.body["subject"], claims(token)["sub"]);
            assert_eq!(thief.fetch(now, &example.api, token).await.status, 401, "{way:?}");
            let bare = answer(http(&example.trusted(), None).get(&example.api)).await;
            assert_eq!(bare.status, 401);
        }
    }
    example.stop().await;
}

#[tokio::test]
async fn oauth4webapi_is_known_by_its_certificate_and_reaches_the_api_with_it() {
    let example = Example::start().await;
    let way = WAYS.into_iter().find(|way| way.by_certificate && way.bound_to_certificate).expect("a way");
    let plan = example.plan(way.name);
    let mut client = node("mutual-tls.mjs");
    client
        .current_dir(repository("tests/interop"))
        .env("PLAN", example.path(&format!("plan-{}.json", way.name)))
        .env("NODE_EXTRA_CA_CERTS", example.path("ca.pem"))
        .env("REDIRECT_URI", &example.party(&plan, "one", way).redirect_uri)
        .env("USERNAME", typed(&plan, "username"))
        .env("PASSWORD", typed(&plan, "password"))
        .kill_on_drop(true);
    let output = run(&mut client).await;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complained}");
    assert!(said.lines().any(|line| line.starts_with("ok ")), "{said}{complained}");
    example.stop().await;
}

#[tokio::test]
async fn people_see_forms_that_need_no_scripts_and_may_decline() {
    let example = Example::start().await;
    let way = crate::certification::SIGNED;
    let plan = example.plan(way.name);
    let party = example.party(&plan, "one", way);
    let now = SystemClock.now();
    party.push(now).send().await.expect(400, "invalid_request");

    let object = signed(&party.client, &party.parameters());
    let pushed = party.client.push(now, &[("request", &object)]).send().await.expect(201, "");
    let mut browser = browser(&example.issuer, &example.trusted());
    let page = browser.open(&party.client.pushed_path(&pushed)).await;
    assert!(!page.has("<script") && page.header("content-security-policy").contains("default-src 'none'"), "{page:?}");
    let fields = [("username", "ada"), ("password", "wrong")];
    let page = browser.submit(&page, &fields).await;
    assert!(page.has("role=\"alert\""), "{page:?}");
    let password = typed(&plan, "password");
    let page = browser.submit(&page, &[("username", "ada"), ("password", &password)]).await;
    assert!(page.has("See your accounts") && page.has("First party") && !page.has("<script"), "{page:?}");
    let back = browser.submit(&page, &[("decision", "deny")]).await;
    assert_eq!(back.parameter("error").as_deref(), Some("access_denied"));
    assert_eq!(back.parameter("state").as_deref(), Some("of the party"));
    let page = browser.open(&party.client.pushed_path(&pushed)).await;
    assert_eq!((page.status, page.header("location")), (400, ""), "an error page, and nowhere to go");
    example.stop().await;
}

#[tokio::test]
async fn the_openid_provider_of_the_example_signs_people_in_to_applications_as_they_are() {
    let example = Example::start().await;
    let plan = example.plan("openid");
    let trusting = http(&example.trusted(), None);
    let url = plan["server"]["discoveryUrl"].as_str().expect("a URL");
    let metadata = answer(trusting.get(url)).await.body;
    assert_eq!(metadata["issuer"], example.openid);
    let endpoint = |name: &str| metadata[name].as_str().expect("a URL").to_owned();
    for (client, is_basic) in [("client", true), ("client2", true), ("client_secret_post", false)] {
        let text = |name: &str| plan[client][name].as_str().expect("text");
        let (id, secret) = (text("client_id"), text("client_secret"));
        let callback = "https://localhost.emobix.co.uk:8443/test/a/tollgate-openid/callback";
        let request =
            [("redirect_uri", callback), ("response_type", "code"), ("scope", "openid email"), ("nonce", "n")];
        let query =
            form_urlencoded::Serializer::new(String::new()).append_pair("client_id", id).extend_pairs(request).finish();
        let mut browser = browser(&example.openid, &example.trusted());
        let path = format!("/oauth/authorize?{query}");
        let back = browser.approve(&path, &typed(&plan, "username"), &typed(&plan, "password")).await;
        let code = back.code();
        let mut form = vec![("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", callback)];
        let call = trusting.post(endpoint("token_endpoint"));
        let call = if is_basic { call.basic_auth(id, Some(secret)) } else { call };
        if !is_basic {
            form.extend([("client_id", id), ("client_secret", secret)]);
        }
        let tokens = answer(call.form(&form)).await.expect_tokens();
        assert_eq!(tokens.body["token_type"], "Bearer");
        let id_token = claims(tokens.text("id_token"));
        assert_eq!((&id_token["aud"], &id_token["nonce"]), (&id.into(), &"n".into()));
        let person = trusting.get(endpoint("userinfo_endpoint")).bearer_auth(tokens.text("access_token"));
        let person = answer(person).await.expect(200, "").body;
        assert_eq!((&person["sub"], &person["email_verified"]), (&id_token["sub"], &true.into()));
    }
    example.stop().await;
}

/// A request object with these parameters, good now.
fn signed(client: &Client, parameters: &[(&str, &str)]) -> String {
    let now = SystemClock.now().seconds();
    let mut claims = serde_json::json!({
        "iss": client.id, "aud": client.issuer, "client_id": client.id, "nbf": now, "exp": now + 300,
    });
    for (name, value) in parameters {
        claims[*name] = (*value).into();
    }
    crate::request_object::sign_object(client, &claims)
}
