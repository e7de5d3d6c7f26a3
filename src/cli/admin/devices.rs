//! `tollgate admin devices`.

use clap::Subcommand;
use serde_json::{Value, json};

use super::table::table;
use super::{AdminError, Call, Page, tell_of_more};
use crate::cli::quote;
use crate::grpc::admin::v1::device_service_client::DeviceServiceClient;
use crate::grpc::admin::v1::{DenyDeviceRequest, Device, ListDevicesRequest};

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Devices {
    /// List those on which nobody has decided yet
    List(Page),
    /// Turn one away, as if a person had
    Deny {
        /// Its name
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
}

impl Devices {
    /// Calls, and reports.
    pub(super) async fn run(self, call: &Call) -> Result<(), AdminError> {
        let mut service = DeviceServiceClient::new(call.channel.clone());
        match self {
            Self::List(Page { limit, page }) => {
                let request = ListDevicesRequest { page_size: limit, page_token: page };
                let page = service.list_devices(request).await?.into_inner();
                let rows = || page.devices.iter().map(|device| row(call, device));
                let text = || table(["DEVICE", "CLIENT", "FROM", "ASKED", "ENDS", "CODE ENTERED", "SCOPE"], rows());
                let json = || {
                    json!({ "devices": page.devices.iter().map(document).collect::<Vec<_>>(),
                                      "next_page_token": page.next_page_token })
                };
                call.report(text, json);
                tell_of_more(&page.next_page_token);
                if let Some(device) = page.devices.first() {
                    eprintln!("next: tollgate admin devices deny {}", quote(&device.id));
                }
            }
            Self::Deny { id } => {
                service.deny_device(DenyDeviceRequest { id }).await?;
                call.report(|| "turned away\n".to_owned(), || json!({ "denied": true }));
                eprintln!("next: tollgate admin devices list");
            }
        }
        Ok(())
    }
}

fn row(call: &Call, device: &Device) -> [String; 7] {
    [
        device.id.clone(),
        device.client_id.clone(),
        device.address.clone(),
        call.ago(device.create_time),
        call.ahead(device.expire_time),
        if device.claimed { "yes" } else { "no" }.to_owned(),
        device.scope.clone(),
    ]
}

fn document(device: &Device) -> Value {
    json!({
        "id": device.id,
        "client_id": device.client_id,
        "scope": device.scope,
        "resource": device.resource,
        "address": device.address,
        "create_time": device.create_time,
        "expire_time": device.expire_time,
        "claimed": device.claimed,
    })
}
