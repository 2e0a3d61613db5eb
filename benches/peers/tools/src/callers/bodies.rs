//! Large bodies in flight: every caller sends one request at once, and reads nothing of the answer for a while.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{Target, of_caller};
use crate::{
    arguments::Arguments,
    flow::{BUFFER, Flow},
    poll::Poller,
    request::Request,
};

/// `--connections` callers, each with one request; answers are read after `--pause` seconds. Prints how many were answered.
///
/// # Errors
/// Where one of them was not.
#[allow(clippy::print_stdout, reason = "standard output is what the measuring script reads")]
pub fn run(arguments: &Arguments) -> io::Result<()> {
    let target = Target::read(arguments)?;
    let request = Request::read(arguments)?;
    let count: usize = arguments.needed("connections")?;
    let pause = Duration::from_secs_f64(arguments.optional("pause")?.unwrap_or_default());
    let mut poller = Poller::new()?;
    let mut flows = Vec::with_capacity(count);
    for number in 0..count {
        let mut flow = Flow::open(&poller, number, target.address, target.tls.as_ref())?;
        flow.begin(&poller, &request)?;
        if !pause.is_zero() {
            flow.turn_away(&poller)?;
        }
        flows.push(flow);
    }
    let listen_at = Instant::now() + pause;
    let mut ready = Vec::new();
    while let Some(left) = listen_at.checked_duration_since(Instant::now()) {
        poller.wait(Some(left), &mut ready)?;
    }
    if !pause.is_zero() {
        flows.iter_mut().try_for_each(|flow| flow.listen(&poller))?;
    }
    let mut buffer = vec![0; BUFFER];
    let mut done = 0;
    while done < count {
        poller.wait(None, &mut ready)?;
        for &number in &ready {
            let Some(flow) = flows.get_mut(number) else { continue };
            done +=
                usize::from(flow.advance(&poller, &request, &mut buffer).map_err(|error| of_caller(number, &error))?);
        }
    }
    println!("{{\"requests\": {done}}}");
    Ok(())
}
