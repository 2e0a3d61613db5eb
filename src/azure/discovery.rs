//! The addresses of a region: the workspace says where they are listed, and the list says where model management is.
//!
//! The list is read without a token. What it names gets one afterwards, so it must be an address that keeps secrets.

use std::collections::BTreeMap;

use super::{
    calls::{Calls, Why},
    control::Control,
    error::Error,
    http::Request,
    url::Url,
    workspace::Facts,
};

const NAME: &str = "modelmanagement";

/// Where the region's model management is.
pub(super) async fn model_management(control: &Control, workspace: &Facts, calls: &mut Calls) -> Result<Url, Error> {
    let doing = format!("find the services of region {}", workspace.region);
    let address = match &workspace.discovery {
        Some(address) => address.clone(),
        // An old workspace does not say.
        None => format!("https://{}.{}/discovery", workspace.region, control.cloud().region_suffix),
    };
    let url = Url::parse(&address)
        .map_err(|why| Error::unusable(&doing, format!("the workspace's discovery address is {why}")))?;
    if !url.keeps_secrets() {
        return Err(Error::unusable(&doing, format!("the workspace's discovery address {url} is plain http://")));
    }
    let reply = control.http().call(Request::get(Why::Discovery, doing, url), calls).await?.success()?;
    let services: BTreeMap<String, serde_json::Value> = reply.json("the addresses of a region")?;
    let Some(address) = services.get(NAME).and_then(serde_json::Value::as_str) else {
        return Err(
            reply.malformed(format!("{} addresses without `{NAME}`", services.len()), "the addresses of a region")
        );
    };
    match Url::parse(address) {
        Ok(url) if url.keeps_secrets() => Ok(url),
        Ok(url) => Err(reply.unusable(format!("it names {url}, which is plain http://, for {NAME}"))),
        Err(why) => Err(reply.unusable(format!("what it names for {NAME} is {why}"))),
    }
}
