//! The pages in their languages, and as operators brand them.

use tollgate::clock::Clock as _;

use crate::browser::{Browser, Page};
use crate::client::{CHALLENGE, code_request};
use crate::process::{Installation, PASSWORD};
use crate::world::World;

fn authorize() -> String {
    format!(
        "/oauth/authorize?response_type=code&client_id=spa&redirect_uri=https%3A%2F%2Fapp.example%2Fcb\
         &scope=orders%3Aread&code_challenge_method=S256&code_challenge={CHALLENGE}"
    )
}

#[tokio::test]
async fn a_browser_gets_its_language() {
    let world = World::start().await;
    for (header, language) in [
        (None, "en"),
        (Some("de"), "de"),
        (Some("de-AT, en;q=0.8"), "de"),
        (Some("en;q=0.8, DE-ch;q=0.9"), "de"),
        (Some("en, de"), "en"),
        (Some("fr, it;q=0.9, de;q=0.1"), "de"),
        (Some("fr"), "en"),
        (Some("de;q=0"), "en"),
        (Some("de;q=0, *"), "en"),
        (Some("de;q=2, ,;;q=,de;q=0.5"), "de"),
        (Some(""), "en"),
    ] {
        let mut browser = Browser::new(&world.issuer);
        browser.accept_language = header.map(str::to_owned);
        let page = browser.open("/activate").await;
        assert_eq!(page.header("content-language"), language, "{header:?}");
        assert!(page.has(&format!("<html lang=\"{language}\" dir=\"ltr\">")), "{header:?}: {page:?}");
        assert!(page.header("vary").contains("accept-language"), "{page:?}");
    }
    let mut many = Browser::new(&world.issuer);
    many.accept_language = Some(format!("{}de", "fr,".repeat(16)));
    assert_eq!(many.open("/activate").await.header("content-language"), "en", "so many wishes are not looked at");
}

#[tokio::test]
async fn a_client_may_wish_for_a_language() {
    let world = World::start().await;
    let mut browser = Browser::new(&world.issuer);
    let page = browser.open(&format!("{}&ui_locales=fr+de-DE+en", authorize())).await;
    assert_eq!(page.header("content-language"), "de", "before what the browser says: {page:?}");
    let page = browser.submit(&page, &[("username", "ada"), ("password", "wrong")]).await;
    assert_eq!((page.status, page.header("content-language")), (403, "de"), "on the pages that follow too");
    let page = browser
        .submit(&page, &[("username", "ada"), ("password", "ada".chars().rev().collect::<String>().as_str())])
        .await;
    assert!(page.header("content-language") == "de" && page.has("möchte auf Ihr Konto zugreifen"), "{page:?}");
    let page = browser.open(&format!("{}&ui_locales=fr", authorize())).await;
    assert_eq!(page.header("content-language"), "de", "what nobody here speaks changes nothing");
    let page = browser.open(&format!("{}&ui_locales=en", authorize())).await;
    assert_eq!(page.header("content-language"), "en");
    browser.cookies.insert("tollgate_language".to_owned(), "<script>".to_owned());
    assert_eq!(browser.open("/activate").await.header("content-language"), "en");
}

/// Everything that a person reads on a page, without what is marked as English or comes from others.
fn read(page: &Page) -> Vec<String> {
    let html = page.html.split_once("</style>").map_or(page.html.as_str(), |(_, body)| body);
    let title = page.html.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()).expect("a title");
    let mut texts = vec![title.to_owned()];
    let mut foreign = Vec::new();
    for piece in html.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').expect("a tag ends");
        let name = tag.split(' ').next().unwrap_or_default();
        if let Some(ended) = name.strip_prefix('/') {
            if foreign.last().is_some_and(|open: &String| open == ended) {
                foreign.pop();
            }
        } else if name == "bdi" || tag.contains("user-code") || tag.contains("lang=\"en\"") {
            foreign.push(name.to_owned());
        }
        if foreign.is_empty() {
            texts.push(text.trim().to_owned());
        }
        for attribute in ["aria-label=\"", "title=\"", "alt=\""] {
            texts.extend(tag.split(attribute).nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned));
        }
    }
    texts.retain(|text| text.chars().any(char::is_alphabetic));
    texts
}

/// Opens every page there is, in one language; gives each with its name.
async fn every_page(language: &str) -> Vec<(&'static str, Page)> {
    let world = World::start().await;
    let (spa, tv) = (world.client("spa"), world.client("tv"));
    let mut browser = Browser::new(&world.issuer);
    browser.accept_language = Some(language.to_owned());
    let password: String = "ada".chars().rev().collect();
    let credentials = [("username", "ada"), ("password", password.as_str())];
    let mut pages = Vec::new();

    pages.push(("sign-in", browser.open(&authorize()).await));
    let sign_in = &pages[0].1;
    let mistyped = browser.submit(sign_in, &[("username", "ada"), ("password", "wrong")]).await;
    let consent = browser.submit(sign_in, &credentials).await;
    let forged = browser.submit(&consent, &[("decision", "approve"), ("csrf_token", "x")]).await;
    let declined = browser.submit(&consent, &[("decision", "deny")]).await;
    assert_eq!(declined.status, 303, "{declined:?}");
    let spent = browser.submit(&consent, &[("decision", "approve")]).await;
    pages.extend([("mistyped", mistyped), ("consent", consent), ("forged", forged), ("spent", spent)]);
    pages.push(("unknown client", browser.open("/oauth/authorize?client_id=nobody").await));
    pages.push(("wrong method", browser.open("/login").await));

    let device = async |browser: &mut Browser, decision: &str| {
        let begun = tv.device_request(world.clock.now(), &[]).send().await.expect(200, "");
        let entry = browser.open(&format!("/activate?user_code={}", begun.text("user_code"))).await;
        let away = browser.submit(&entry, &[("user_code", begun.text("user_code"))]).await;
        let question = browser.follow(away).await;
        let done = browser.submit(&question, &[("decision", decision)]).await;
        [entry, question, done]
    };
    let [entry, question, approved] = device(&mut browser, "approve").await;
    let [_, _, declined] = device(&mut browser, "deny").await;
    pages.extend([("code entry", entry), ("device", question), ("approved", approved), ("declined", declined)]);
    for (name, code) in [("malformed", "ABC"), ("unknown code", "BBBB-BBBB")] {
        let entry = browser.open("/activate").await;
        let page = browser.submit(&entry, &[("user_code", code)]).await;
        pages.push((name, browser.follow(page).await));
    }
    for _ in 0..5 {
        let entry = browser.open("/activate").await;
        let page = browser.submit(&entry, &[("user_code", "BBBB-BBBB")]).await;
        let page = browser.follow(page).await;
        if page.status == 429 {
            pages.push(("too many codes", page));
            break;
        }
    }
    pages.push(("interrupted", browser.open("/activate/callback?state=x").await));

    pages.push(("empty account", browser.open("/account").await));
    let code = world.code(&spa).await;
    spa.request(world.clock.now(), &code_request(&code)).send().await.expect_tokens();
    let account = browser.open("/account").await;
    let ended = browser.submit(&account, &[("decision", "end")]).await;
    let gone = browser.submit(&account, &[("decision", "end")]).await;
    pages.extend([("account", account), ("ended", ended), ("gone", gone)]);
    let sign_out = browser.open("/logout").await;
    let signed_out = browser.submit(&sign_out, &[]).await;
    pages.extend([("sign-out", sign_out), ("signed out", signed_out)]);
    let away = browser.open("/account").await;
    pages.push(("sign-in for the account", browser.follow(away).await));
    let entry = browser.open("/activate").await;
    let away = browser.submit(&entry, &[("user_code", "BBBB-BBBB")]).await;
    pages.push(("sign-in for a device", browser.follow(away).await));
    for (name, page) in &pages {
        assert_eq!(page.header("content-language"), language, "{name}: {page:?}");
    }
    pages
}

/// What is the same in both languages.
const SAME: [&str; 1] = ["Code"];

#[tokio::test]
async fn no_english_is_left_on_a_german_page() {
    let (english, german) = (every_page("en").await, every_page("de").await);
    assert_eq!(english.len(), german.len());
    for ((name, english), (_, german)) in english.iter().zip(&german) {
        let (english, german) = (read(english), read(german));
        assert!(german.len() + 2 > english.len(), "{name}: {german:#?}");
        for text in &german {
            assert!(!english.contains(text) || SAME.contains(&text.as_str()), "`{text}` on the page {name}");
        }
    }
}

#[tokio::test]
async fn no_page_has_a_word_of_its_own() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().extension().is_none_or(|extension| extension != "html") {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).expect("a template");
        let mut rest = String::new();
        let mut outside = text.as_str();
        while let Some(at) = outside.find(['{', '<']) {
            rest.push_str(&outside[..at]);
            let end = match &outside[at..] {
                tag if tag.starts_with("{{") => "}}",
                tag if tag.starts_with("{%") => "%}",
                _ => ">",
            };
            outside = outside[at..].split_once(end).expect("it ends").1;
        }
        rest.push_str(outside);
        assert!(!rest.chars().any(char::is_alphabetic), "{}: {rest}", entry.path().display());
    }
}

/// A picture that would do harm if anything in it ran.
const SVG: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"><script>alert(2)</script></svg>";

#[tokio::test]
async fn operators_brand_the_pages() {
    let installation = Installation::new();
    std::fs::write(installation.path("logo"), SVG).expect("a file");
    let branding = "authorization_server.branding={\"name\":\"Café <b>\",\"logo_file\":\"logo\",\
                    \"accent_color\":{\"light\":\"#0a6b3d\",\"dark\":\"#7be0ac\"}}";
    let words =
        "authorization_server.scopes.orders:read={\"en\":\"See your orders\",\"de\":\"Ihre Bestellungen sehen\"}";
    let process = installation.start(&["--set", branding, "--set", words]).await;
    let mut browser = Browser::new(&installation.issuer);
    let page = browser.open(&authorize()).await;
    assert!(page.has("<bdi>Café &#60;b&#62;</bdi>") && page.has(" · Café &#60;b&#62;</title>"), "{page:?}");
    assert!(page.has("--main:#0a6b3d;--on-main:#ffffff") && page.has("--main:#7be0ac;--on-main:#0d1626"), "{page:?}");
    assert!(page.header("content-security-policy").contains("; img-src 'self';"), "{page:?}");

    let path =
        page.html.split("<img src=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a logo").to_owned();
    let logo = browser.open(&path).await;
    assert_eq!((logo.status, logo.header("content-type"), logo.html.as_str()), (200, "image/svg+xml", SVG));
    assert_eq!(logo.header("content-security-policy"), "default-src 'none'; style-src 'unsafe-inline'; sandbox");
    assert_eq!(logo.header("x-content-type-options"), "nosniff");
    assert_eq!(logo.header("cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(browser.open(&path.replace(".svg", ".png")).await.status, 404);
    assert_eq!(browser.post(&path, &[]).await.status, 405);

    let consent = browser.submit(&page, &[("username", "ada"), ("password", PASSWORD)]).await;
    assert!(consent.has("See your orders"), "{consent:?}");
    browser.accept_language = Some("de".to_owned());
    let consent = browser.open(&authorize()).await;
    assert!(consent.has("Ihre Bestellungen sehen") && !consent.has("See your orders"), "{consent:?}");
    process.signal("TERM").await;
    process.ended().await;
}
