//! `--metrics ADDRESS` of `ajatus pipeline run`: Prometheus text on loopback while the run lasts.

use std::net::SocketAddr;
use std::sync::Arc;

use ajatus_serving::Numbers;
use serde_json::json;

use crate::exit::{Ended, Exit};
use crate::output::Out;

/// Serves the numbers of this process, and says where.
///
/// # Errors
/// An address that other machines reach: there is no sign-in. One that is taken.
pub(super) async fn serve(address: SocketAddr, out: &Out) -> anyhow::Result<Numbers> {
    if !address.ip().is_loopback() {
        return Err(Ended::new(Exit::Usage, format!("--metrics {address} would be open to other machines without a sign-in; use 127.0.0.1 or [::1], and a proxy")));
    }
    let recorder = crate::stack::metrics();
    let served = Numbers::serve(address, Arc::new(move || recorder.render())).await;
    let served = served.map_err(|error| Ended::new(Exit::Unavailable, error.to_string()))?;
    let place = format!("http://{}/metrics", served.address());
    out.note(if out.json() { json!({ "metrics": place }).to_string() } else { format!("metrics at {place}") }).await;
    Ok(served)
}
