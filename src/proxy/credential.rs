//! The one place that writes a credential into a request.
//!
//! What is attached comes from the worker's present view, for each sending anew. How a credential came to be (files today;
//! tokens and rotation publish the same [`LocalCredential`]) is the control plane's affair.

use std::rc::Rc;

use http::HeaderMap;

use super::{
    endpoint::{Handed, LocalEndpoint},
    view::LocalCredential,
};

/// Attaches a credential, replacing whatever has its name, and counts the request as one that was handed this value.
pub fn attach(headers: &mut HeaderMap, credential: &LocalCredential, endpoint: &Rc<LocalEndpoint>) -> Handed {
    headers.insert(credential.header.clone(), credential.value.clone());
    endpoint.hand(credential.id)
}
