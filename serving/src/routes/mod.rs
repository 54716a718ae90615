//! The routes, one file per resource, and the OpenAPI document they make.

mod accounts;
mod after;
mod conversations;
mod forget;
mod memories;
mod messages;
mod page;
mod profile;
mod replies;
mod sessions;
mod system;

use axum::Router;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::server::App;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Ajatuskumppani",
        description = "A self-hosted companion that remembers, and says why. Errors are problem documents (RFC 9457). Times are RFC 3339, UTC.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(crate::problem::Problem, crate::reply::Frame)),
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        document.components.get_or_insert_default().add_security_scheme("access_token", SecurityScheme::Http(scheme));
    }
}

fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(accounts::create_account))
        .routes(routes!(accounts::get_me, forget::delete_me))
        .routes(routes!(accounts::update_training_consent))
        .routes(routes!(sessions::create_session, sessions::list_sessions))
        .routes(routes!(sessions::refresh_session))
        .routes(routes!(sessions::delete_session))
        .routes(routes!(conversations::create_conversation, conversations::list_conversations))
        .routes(routes!(conversations::get_conversation, conversations::update_conversation))
        .routes(routes!(messages::create_message, messages::list_messages))
        .routes(routes!(messages::delete_message, forget::update_message))
        .routes(routes!(forget::create_forgetting, forget::list_forgettings))
        .routes(routes!(forget::get_forgetting))
        .routes(routes!(replies::list_frames))
        .routes(routes!(replies::stop_reply))
        .routes(routes!(memories::search_memories))
        .routes(routes!(memories::get_memory))
        .routes(routes!(memories::get_activity))
        .routes(routes!(profile::get_profile))
        .routes(routes!(profile::get_fact))
        .routes(routes!(profile::get_why_not))
        .routes(routes!(profile::create_edit, profile::list_edits))
        .routes(routes!(profile::delete_edit))
        .routes(routes!(system::live))
        .routes(routes!(system::ready))
        .routes(routes!(system::metrics))
        .routes(routes!(system::jwks))
}

/// The OpenAPI document.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    documented().split_for_parts().1
}

/// Every route.
pub(crate) fn all(app: App) -> Router {
    let (router, document) = documented().split_for_parts();
    router
        .with_state(app)
        .merge(SwaggerUi::new("/docs").url("/openapi.json", document))
        .merge(page::routes())
}
