//! Runs a command that waits for something, until it is done or Ctrl-C.

use super::exit::{Exit, Stop};

pub(super) fn wait<T>(work: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Stop::failed(format_args!("the system gives no event loop: {error}")))?;
    runtime.block_on(async {
        tokio::select! {
            done = work => done,
            Ok(()) = tokio::signal::ctrl_c() => Err(Stop::silent(Exit::Interrupted)),
        }
    })
}
