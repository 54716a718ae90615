//! The signed-in user of a request.

use ajatus_events::UserId;
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use uuid::Uuid;

use crate::problem::Problem;
use crate::server::App;

/// Who asks; a route that takes it is refused to anybody else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) user: UserId,
    pub(crate) session: Uuid,
}

impl FromRequestParts<App> for Who {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| Problem::unauthorized("sign in and send `authorization: Bearer <access token>`"))?;
        let (user, session) = app
            .tokens
            .check(token, app.clock.now())
            .ok_or_else(|| Problem::unauthorized("the access token is not valid or has expired; refresh it at /v1/sessions/refresh"))?;
        // A session that was ended ends its access tokens too.
        if !app.db.session_alive(user, session).await? {
            return Err(Problem::unauthorized("the session has ended; sign in again"));
        }
        Ok(Self { user, session })
    }
}
