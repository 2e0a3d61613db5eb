//! Many connections that have each served one request and are then left alone.
//!
//! Says `idle N` once all are; each line on standard input makes every connection ask once more, answered by `served N`; the end of
//! standard input ends it. So the measuring script decides when to look at the proxy's memory, and sees that none was lost.

use std::io::{self, BufRead};

use super::{Target, of_caller};
use crate::{
    arguments::Arguments,
    flow::{BUFFER, Flow},
    poll::Poller,
    request::Request,
};

/// Requests in flight at once while connections are opened, so that it is not bursts that are measured.
const AT_ONCE: usize = 32;

/// Runs until standard input ends.
///
/// # Errors
/// Where a connection could not be opened, or a request was not answered as it must be.
#[allow(clippy::print_stdout, reason = "standard output is what the measuring script reads")]
pub fn run(arguments: &Arguments) -> io::Result<()> {
    let target = Target::read(arguments)?;
    let request = Request::read(arguments)?;
    let count: usize = arguments.needed("connections")?;
    let mut poller = Poller::new()?;
    let mut flows = Vec::with_capacity(count);

    everyone(&mut poller, &mut flows, count, &request, |poller, flows| {
        flows.push(Flow::open(poller, flows.len(), target.address, target.tls.as_ref())?);
        Ok(())
    })?;
    println!("idle {count}");
    for line in io::stdin().lock().lines() {
        line?;
        everyone(&mut poller, &mut flows, count, &request, |_, _| Ok(()))?;
        println!("served {count}");
    }
    Ok(())
}

/// One request on each connection, a few at a time; `before` runs ahead of each one's.
fn everyone(
    poller: &mut Poller,
    flows: &mut Vec<Flow>,
    count: usize,
    request: &Request,
    before: impl Fn(&Poller, &mut Vec<Flow>) -> io::Result<()>,
) -> io::Result<()> {
    let (mut begun, mut done) = (0, 0);
    let mut ready = Vec::new();
    let mut buffer = vec![0; BUFFER];
    while done < count {
        while begun < count && begun - done < AT_ONCE {
            before(poller, flows).map_err(|error| of_caller(begun, &error))?;
            if let Some(flow) = flows.get_mut(begun) {
                flow.begin(poller, request).map_err(|error| of_caller(begun, &error))?;
            }
            begun += 1;
        }
        poller.wait(None, &mut ready)?;
        for &number in &ready {
            let Some(flow) = flows.get_mut(number) else { continue };
            if flow.advance(poller, request, &mut buffer).map_err(|error| of_caller(number, &error))? {
                flow.rest();
                done += 1;
            }
        }
    }
    Ok(())
}
