//! `scoregate login`: a person signs in once, in a browser or on another device; what is kept for later its owner alone can read.

use std::{
    io::{self, BufRead, IsTerminal},
    process::{Command, Stdio},
    sync::Arc,
};

use clap::Args;

use super::{
    Global, azure,
    config_path::ConfigPath,
    exit::{Exit, Stop},
    output,
    wait::wait,
};
use crate::{
    azure::{
        calls::Calls,
        control::Control,
        http::Http,
        identity::{
            Identity, Kind,
            cache::Cache,
            login::{self, ANY_TENANT, Asking, Login, SignedIn},
        },
        token::{Fetch, Fetched, Remembered},
        workspace::{self, Tenant},
    },
    child,
    config::model::Config,
};

#[derive(Debug, Args)]
pub(super) struct LoginArgs {
    /// Sign in to this tenant: its id or one of its domains [default: the person's own; asked for where there are several]
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Show a code to enter on another device, in place of a browser here
    #[arg(long)]
    device_code: bool,
    #[command(flatten)]
    config: ConfigPath,
    /// Which `login` identity of the configuration it is for [default: its only one, else the public cloud]
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
}

pub(super) fn run(args: LoginArgs, global: &Global) -> Result<(), Stop> {
    let _log = azure::log(global);
    let config = azure::load_if_any(args.config)?;
    let (identity, login) = identity(config.as_ref(), args.identity.as_deref())?;
    let Some(cache) = login.cache.clone() else {
        let message = "neither XDG_STATE_HOME nor HOME says where a sign-in can be kept";
        return Err(Stop::new(Exit::Usage, message));
    };
    // Before anybody signs in for nothing.
    cache.read().map_err(Stop::failed)?;
    let tenant = args.tenant.or(login.tenant);
    let asking = Asking {
        audience: identity.cloud.audience.clone(),
        tenant: tenant.clone().unwrap_or_else(|| ANY_TENANT.to_owned()),
        client: login.client,
        identity: Arc::new(identity),
    };
    let clients = azure::clients();
    let http = clients.http();
    let signed_in = wait(async {
        let mut calls = Calls::default();
        let signed_in = match args.device_code {
            true => by_device_code(&asking, http, &mut calls).await?,
            false => by_browser(&asking, http, &mut calls).await?,
        };
        match tenant {
            Some(_) => Ok(signed_in),
            None => in_chosen_tenant(&asking, http, signed_in, &mut calls).await,
        }
    })?;
    cache.keep(&signed_in.kept).map_err(Stop::failed)?;
    output::print(&format!(
        "signed in as {}; kept in {}, which its owner alone can read\n",
        signed_in.kept,
        cache.0.display()
    ))
}

/// The identity whose cloud and application are meant.
fn identity(config: Option<&Config>, name: Option<&str>) -> Result<(Identity, Login), Stop> {
    let identities = config.map_or(&[][..], |config| &config.identities);
    let logins = identities.iter().filter_map(|identity| match &identity.kind {
        Kind::Login(login) => Some((identity.clone(), login.clone())),
        Kind::Application(_) | Kind::Managed(_) | Kind::AzureCli(_) => None,
    });
    let mut logins = logins.filter(|(identity, _)| name.is_none_or(|name| identity.name == name));
    match (logins.next(), logins.next(), name) {
        (Some(only), None, _) => Ok(only),
        (Some(_), Some(_), _) => {
            Err(Stop::new(Exit::Usage, "the configuration has several `login` identities: name one with --identity"))
        }
        (None, _, Some(name)) => Err(Stop::new(Exit::Usage, format_args!("there is no `login` identity `{name}`"))),
        (None, _, None) => {
            let person = azure::signed_in_person(None);
            let cache = Cache::of_user(|name| std::env::var_os(name));
            let login = Login { tenant: None, client: login::PUBLIC_CLIENT.to_owned(), cache };
            Ok((person, login))
        }
    }
}

async fn by_device_code(asking: &Asking, http: &Http, calls: &mut Calls) -> Result<SignedIn, Stop> {
    let code = asking.device_code(http, calls).await.map_err(|error| azure::stop(&error))?;
    output::complain(&format!(
        "open {} on any device and enter the code {} within {} minutes",
        code.address,
        code.user_code,
        code.good_for.as_secs().div_ceil(60)
    ));
    asking.await_code(http, &code, calls).await.map_err(|error| azure::stop(&error))
}

async fn by_browser(asking: &Asking, http: &Http, calls: &mut Calls) -> Result<SignedIn, Stop> {
    let browser = asking.browser().await.map_err(|error| azure::stop(&error))?;
    output::complain(&format!(
        "sign in in the browser; if none opens, open this in one of this machine:\n{}",
        browser.address
    ));
    open(&browser.address);
    asking.await_browser(http, browser, calls).await.map_err(|error| azure::stop(&error))
}

/// Whoever has no browser reads the address.
fn open(address: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    child::keep_secrets_from(&mut command);
    command.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Not waited for: some browsers stay in the foreground.
    drop(command.spawn());
}

/// Where there are several tenants the person chooses; the refresh token is good for all of them.
async fn in_chosen_tenant(
    asking: &Asking,
    http: &Http,
    signed_in: SignedIn,
    calls: &mut Calls,
) -> Result<SignedIn, Stop> {
    let tokens = Remembered::new(Once(signed_in.fetched.clone()), http.clock().clone());
    let control = Control::new(http, Arc::new(tokens), asking.identity.cloud.clone());
    let tenants = match workspace::tenants(&control, calls).await {
        Ok(tenants) => tenants,
        Err(error) => {
            output::complain(&format!("{error}: staying in the person's own tenant"));
            return Ok(signed_in);
        }
    };
    let Some(chosen) = choose(&tenants, &signed_in.kept.tenant)? else { return Ok(signed_in) };
    let kept = crate::azure::identity::cache::Kept { tenant: chosen, ..signed_in.kept };
    login::refresh(&asking.identity, http, &kept, &asking.audience, calls).await.map_err(|error| azure::stop(&error))
}

/// The tenant that was chosen, if it is another one.
fn choose(tenants: &[Tenant], own: &str) -> Result<Option<String>, Stop> {
    if tenants.len() < 2 {
        return Ok(None);
    }
    if !io::stdin().is_terminal() {
        let others = tenants.iter().map(|tenant| tenant.id.as_str()).collect::<Vec<_>>().join(", ");
        output::complain(&format!(
            "there are several tenants ({others}); staying in {own}: name another one with --tenant"
        ));
        return Ok(None);
    }
    let mut list = String::from("there are several tenants:\n");
    for (index, tenant) in tenants.iter().enumerate() {
        let mark = if tenant.id == own { " (your own)" } else { "" };
        let name: String = tenant.name.chars().filter(|c| !c.is_control()).take(80).collect();
        list.push_str(&format!("  {}  {} {name}{mark}\n", index + 1, tenant.id));
    }
    output::complain(&format!("{list}which one? [its number, or Enter for your own]"));
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(Stop::failed)?;
    match line.trim() {
        "" => Ok(None),
        number => {
            let chosen = number.parse::<usize>().ok().and_then(|number| tenants.get(number.checked_sub(1)?));
            let chosen = chosen.ok_or_else(|| Stop::new(Exit::Usage, format_args!("there is no tenant {number}")))?;
            Ok(Some(chosen.id.clone()).filter(|id| id != own))
        }
    }
}

/// The one token that the sign-in brought.
#[derive(Debug)]
struct Once(Fetched);

impl Fetch for Once {
    fn fetch<'a>(
        &'a self,
        _: &'a crate::azure::cloud::Audience,
        _: Option<&'a str>,
        _: &'a mut Calls,
    ) -> crate::azure::BoxFuture<'a, Result<Fetched, crate::azure::error::Error>> {
        Box::pin(async move { Ok(self.0.clone()) })
    }

    fn who(&self) -> String {
        "whoever signed in".to_owned()
    }
}
