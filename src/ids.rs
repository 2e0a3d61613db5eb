//! Newtypes for the identities that pass between the control plane and the data plane.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u64);

        impl $name {
            /// One that no other part of the process has.
            #[must_use]
            pub fn fresh() -> Self {
                static NEXT: AtomicU64 = AtomicU64::new(1);
                Self(NEXT.fetch_add(1, Ordering::Relaxed))
            }
        }
    };
}

identity! {
    /// An endpoint. Survives a reload that keeps its name.
    EndpointId
}
identity! {
    /// An upstream with everything that decides which connections are interchangeable. Survives a reload that changes none of it.
    BackendId
}
identity! {
    /// One value that an endpoint attaches or attached. Two different values never share one, so that requests can be counted by it.
    ValueId
}
identity! {
    /// A listener. Survives a reload that keeps its name and address.
    ListenerId
}
identity! {
    /// What tokens of one caller must be. Survives a reload that changes none of it.
    RulesId
}
identity! {
    /// The keys that an issuer signs with. Other keys, another id.
    KeySetId
}
identity! {
    /// Whose client certificates a listener believes. Other authorities or other lists of what they took back, another id.
    ClientTrustId
}

/// Counts published snapshots; only grows.
pub type Generation = u64;
