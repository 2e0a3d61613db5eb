//! Fresh connections: a full handshake, one request, and the end.

use std::io;

use super::{Target, of_caller};
use crate::{
    arguments::Arguments,
    flow::{BUFFER, Flow},
    poll::Poller,
    request::Request,
};

/// Makes `--count` connections, `--at-once` of them at a time, and prints how many were answered.
///
/// # Errors
/// Where one of them was not.
#[allow(clippy::print_stdout, reason = "standard output is what the measuring script reads")]
pub fn run(arguments: &Arguments) -> io::Result<()> {
    let target = Target::read(arguments)?;
    let request = Request::read(arguments)?;
    let count: usize = arguments.needed("count")?;
    let at_once: usize = arguments.optional("at-once")?.unwrap_or(16);
    let mut poller = Poller::new()?;
    let mut flows: Vec<Option<Flow>> = Vec::new();
    flows.resize_with(at_once, || None);
    let (mut begun, mut done) = (0, 0);
    let mut ready = Vec::new();
    let mut buffer = vec![0; BUFFER];
    while done < count {
        for (number, place) in flows.iter_mut().enumerate() {
            if place.is_none() && begun < count {
                let mut flow = Flow::open(&poller, number, target.address, target.tls.as_ref())?;
                flow.begin(&poller, &request)?;
                *place = Some(flow);
                begun += 1;
            }
        }
        poller.wait(None, &mut ready)?;
        for &number in &ready {
            let Some(place) = flows.get_mut(number) else { continue };
            let Some(flow) = place else { continue };
            if flow.advance(&poller, &request, &mut buffer).map_err(|error| of_caller(done, &error))? {
                // Dropped: closed.
                *place = None;
                done += 1;
            }
        }
    }
    println!("{{\"requests\": {done}}}");
    Ok(())
}
