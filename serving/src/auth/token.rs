//! Access tokens: EdDSA over Ed25519, ten minutes, one algorithm.

use ajatus_events::UserId;
use ajatus_memory::keys::KeyRing;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Seconds an access token lives.
pub(crate) const LIFETIME_SECONDS: i64 = 600;
const ISSUER: &str = "ajatuskumppani";
const AUDIENCE: &str = "ajatuskumppani-api";

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    sid: Uuid,
    jti: Uuid,
    iat: i64,
    exp: i64,
}

/// Makes and checks access tokens, with a key of the installation.
pub(crate) struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    key_id: String,
    public: String,
}

impl Tokens {
    pub(crate) fn new(keys: &KeyRing) -> Result<Self, String> {
        let signing = SigningKey::from_bytes(&keys.installation_secret("access token"));
        let document = signing.to_pkcs8_der().map_err(|error| error.to_string())?;
        let public = signing.verifying_key();
        Ok(Self {
            encoding: EncodingKey::from_ed_der(document.as_bytes()),
            decoding: DecodingKey::from_ed_der(public.as_bytes()),
            key_id: blake3::hash(public.as_bytes()).to_hex().chars().take(16).collect(),
            public: URL_SAFE_NO_PAD.encode(public.as_bytes()),
        })
    }

    pub(crate) fn issue(&self, user: UserId, session: Uuid, now: DateTime<Utc>) -> Result<String, String> {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user.0,
            sid: session,
            jti: Uuid::new_v4(),
            iat: now.timestamp(),
            exp: now.timestamp() + LIFETIME_SECONDS,
        };
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &self.encoding).map_err(|error| error.to_string())
    }

    /// Whose token it is, if it is ours and of now.
    pub(crate) fn check(&self, token: &str, now: DateTime<Utc>) -> Option<(UserId, Uuid)> {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Against our own clock, below.
        validation.validate_exp = false;
        let data = jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation).ok()?;
        let claims = data.claims;
        let fresh = claims.exp > now.timestamp() && claims.iat <= now.timestamp() + 30;
        (fresh && data.header.kid.as_deref() == Some(&self.key_id)).then_some((UserId(claims.sub), claims.sid))
    }

    /// The public key as a JWKS document.
    pub(crate) fn jwks(&self) -> serde_json::Value {
        serde_json::json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.key_id, "x": self.public }] })
    }
}
