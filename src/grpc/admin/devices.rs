//! Devices that wait for a person.

use tonic::{Request, Response, Status};

use super::v1::device_service_server::DeviceService;
use super::v1::{self, DenyDeviceRequest, DenyDeviceResponse, ListDevicesRequest, ListDevicesResponse};
use super::{Act, Api, acted, caller, page, seconds, unavailable};
use crate::secret::Digest;
use crate::store::DeviceRecord;

#[tonic::async_trait]
impl DeviceService for Api {
    async fn list_devices(&self, call: Request<ListDevicesRequest>) -> Result<Response<ListDevicesResponse>, Status> {
        let ListDevicesRequest { page_size, page_token } = call.into_inner();
        let (after, size) = (page::behind(&page_token)?.map(Digest::from_bytes), page::size(page_size));
        let listed = self.server.get().list_devices(after, self.clock.now(), size).await;
        let listed = listed.map_err(|_| unavailable("list_devices"))?;
        let next_page_token = page::next(&listed, size, |device| page::named(device.digest.as_bytes()));
        let devices = listed.iter().map(v1::Device::from).collect();
        Ok(Response::new(ListDevicesResponse { devices, next_page_token }))
    }

    async fn deny_device(&self, call: Request<DenyDeviceRequest>) -> Result<Response<DenyDeviceResponse>, Status> {
        let by = caller(&call);
        let unknown = || Status::not_found("no device of that name waits, or not any more");
        let device = page::name(&call.into_inner().id).map(Digest::from_bytes).ok_or_else(unknown)?;
        let denied = self.server.get().deny_device(device, self.clock.now()).await;
        denied.map_err(|_| unavailable("deny_device"))?.then_some(()).ok_or_else(unknown)?;
        acted("deny_device", &by, &Act::default());
        Ok(Response::new(DenyDeviceResponse {}))
    }
}

impl From<&DeviceRecord> for v1::Device {
    fn from(device: &DeviceRecord) -> Self {
        Self {
            id: page::named(device.digest.as_bytes()),
            client_id: device.client_id.to_string(),
            scope: device.scopes.to_string(),
            resource: device.resource.to_string(),
            address: device.address.to_canonical().to_string(),
            create_time: seconds(device.created_at),
            expire_time: seconds(device.expires_at),
            claimed: device.claimed_by.is_some(),
        }
    }
}
