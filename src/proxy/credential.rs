//! The one place that writes a credential into a request.
//!
//! What is attached comes from the worker's present view, for each sending anew. How a credential came to be (files today;
//! tokens and rotation publish the same [`LocalCredential`]) is the control plane's affair.

use std::rc::Rc;

use super::{
    endpoint::{Handed, LocalEndpoint},
    headers::outgoing::FieldSink,
    view::LocalCredential,
};

/// Attaches a credential, and counts the request as one that was handed this value.
pub fn attach(sink: &mut impl FieldSink, credential: &LocalCredential, endpoint: &Rc<LocalEndpoint>) -> Handed {
    sink.secret(&credential.header, &credential.value);
    endpoint.hand(credential.id)
}
