//! What nobody who checks a signature can do without: aws-lc-rs, bare.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey,
    UnparsedPublicKey,
};

use crate::rounds::cpu_us_each;

/// How often an operation is repeated in one turn.
const REPETITIONS: usize = 250;

/// An ES256 key, and what it signed: texts as long as a DPoP proof.
pub(crate) struct Floor {
    pair: EcdsaKeyPair,
    parsed: ParsedPublicKey,
    point: Vec<u8>,
    signed: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Floor {
    /// A key and its signatures.
    pub(crate) fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let point = pair.public_key().as_ref().to_vec();
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).expect("a point");
        let text = |n| format!("{n:-^520}").into_bytes();
        let signed = (0..REPETITIONS).map(text).map(|text| {
            let signature = pair.sign(&SystemRandom::new(), &text).expect("a signature").as_ref().to_vec();
            (text, signature)
        });
        Self { parsed, point, signed: signed.collect(), pair }
    }

    /// One verification with a key that was parsed before, in microseconds of CPU.
    pub(crate) fn verification(&self) -> f64 {
        cpu_us_each(REPETITIONS, |n| {
            let (text, signature) = &self.signed[n];
            self.parsed.verify_sig(text, signature).expect("its signature");
        })
    }

    /// One verification with a key that is parsed for it.
    pub(crate) fn unparsed_verification(&self) -> f64 {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.point);
        cpu_us_each(REPETITIONS, |n| {
            let (text, signature) = &self.signed[n];
            key.verify(text, signature).expect("its signature");
        })
    }

    /// One signature.
    pub(crate) fn signature(&self) -> f64 {
        let random = SystemRandom::new();
        cpu_us_each(REPETITIONS, |n| {
            let signature = self.pair.sign(&random, &self.signed[n].0).expect("a signature");
            std::hint::black_box(&signature);
        })
    }
}
