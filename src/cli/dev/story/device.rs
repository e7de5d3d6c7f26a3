//! The second half of the story: a device without a keyboard is let in (RFC 8628).

use reqwest::Method;

use super::person::Person;
use super::{DevError, Sent, Stage, check, show, step};
use crate::cli::client::{
    ClientError, Credential, DeviceAuthorization, Identity, Party, ServerMetadata, Talk, TokenClient, new_key, short,
};
use crate::cli::dev::files::{DEVICE, PERSON};
use crate::jose::SigningKey;

/// Tells it.
pub(super) async fn tell(stage: &Stage, password: &str) -> Result<(), DevError> {
    let party = Party {
        issuer: stage.issuer.clone(),
        identity: Identity { client_id: DEVICE.to_owned(), credential: Credential::None },
        scope: Some("orders:read".to_owned()),
        resource: Some(stage.resource.clone()),
        session: String::new(),
    };
    let server = ServerMetadata::discover(&stage.transport, &stage.issuer).await?;
    let client = TokenClient::new(&party, &server, &stage.transport, Talk::Quiet);
    let key = new_key();
    let owner = short(key.public().thumbprint());

    step(7, "A television wants to read the orders too. It has no keyboard, so it asks for a code to show");
    println!("   > POST {}/oauth/device_authorization", stage.issuer);
    let resource = &stage.resource;
    println!("   > client_id={DEVICE}&scope=orders:read&resource={resource}&dpop_jkt=(the hash of its key {owner})");
    let reply = DeviceAuthorization::ask(&client, &key).await?;
    show(&reply);
    check("the codes of the device", &reply, 200)?;
    let device =
        DeviceAuthorization::read(&reply.body).map_err(|what| ClientError::Answer(stage.issuer.to_string(), what))?;

    step(8, "It asks whether somebody has approved. Nobody has");
    poll(&client, &device, (&key, &owner), 400).await?;

    step(9, &format!("{PERSON} opens the address, types the code, signs in, compares the codes and approves"));
    let code = device.user_code.as_str();
    let mut person = Person::new(&stage.transport);
    let page = person.open(&device.verification_uri).await?;
    let page = person.submit(&page, &[("user_code", code)], &format!("user_code={code}")).await?;
    let sign_in = [("username", PERSON), ("password", password)];
    let page = person.submit(&page, &sign_in, &format!("username={PERSON}&password=(hers)")).await?;
    person.submit(&page, &[("decision", "approve")], "decision=approve").await?;

    step(10, "The television asks again. Its token is good with its key only, and the API sees who let it in");
    let reply = poll(&client, &device, (&key, &owner), 200).await?;
    let token = client.read(&reply)?;
    let proof = stage.prove(&key, &Method::GET, &token);
    let request = Sent { method: Method::GET, scheme: "DPoP", proof: Some((&proof, "a fresh one")) };
    println!();
    stage.call("the call of the device", &stage.orders, &token, &request, 200).await
}

async fn poll(
    client: &TokenClient<'_>,
    device: &DeviceAuthorization,
    (key, owner): (&SigningKey, &str),
    expected: u16,
) -> Result<crate::cli::client::Reply, DevError> {
    println!("   > POST {}", client.server.token_endpoint);
    println!("   > DPoP: (a proof by key {owner})");
    println!("   > grant_type=urn:ietf:params:oauth:grant-type:device_code&device_code=(it)&client_id={DEVICE}");
    let reply = client.ask(&device.grant(), key, None).await?;
    show(&reply);
    check("the poll of the device", &reply, expected)?;
    Ok(reply)
}
