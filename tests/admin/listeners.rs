//! How listeners begin and end: the socket's mode, dead and live sockets, default places, taken ports, the token's file.

use std::{os::unix::net::UnixListener, sync::Arc};

use scoregate::{config::model::StateDir, control::admin::places::Fallbacks};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Ask, mode, setting};

#[tokio::test]
async fn the_socket_is_for_its_owner_alone_and_goes_away_with_the_process() {
    let running = setting().start().await;
    let socket = running.socket();
    assert_eq!(mode(&socket), 0o600);
    running.handle.stop().await;
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_dead_socket_is_replaced() {
    let setting = setting();
    drop(UnixListener::bind(&setting.admin.socket.path).unwrap());
    assert!(setting.admin.socket.path.exists());
    let running = setting.start().await;
    assert_eq!(running.ask_socket("GET", "/livez").await.status, 200);
}

#[tokio::test]
async fn a_live_socket_is_left_alone() {
    let mut first = setting();
    first.admin.address = None;
    first.health = None;
    let running = first.start().await;
    let mut second = setting();
    second.admin.socket.path = running.socket();
    let message = format!("{:#}", second.serve(&Arc::default()).await.unwrap_err());
    assert!(message.contains("another process answers at") && message.contains("admin.socket"), "{message}");
    assert_eq!(running.ask_socket("GET", "/livez").await.status, 200);
}

#[tokio::test]
async fn what_is_not_a_socket_is_never_removed() {
    let setting = setting();
    std::fs::write(&setting.admin.socket.path, "precious").unwrap();
    let message = format!("{:#}", setting.serve(&Arc::default()).await.unwrap_err());
    assert!(message.contains("is not a socket"), "{message}");
    assert_eq!(std::fs::read_to_string(&setting.admin.socket.path).unwrap(), "precious");
}

#[tokio::test]
async fn a_socket_that_another_process_put_there_meanwhile_stays() {
    let running = setting().start().await;
    let socket = running.socket();
    std::fs::remove_file(&socket).unwrap();
    let _other = UnixListener::bind(&socket).unwrap();
    running.handle.stop().await;
    assert!(socket.exists());
}

#[tokio::test]
async fn a_written_socket_that_cannot_be_made_is_an_error() {
    let mut setting = setting();
    setting.admin.socket.path = setting.dir.path().join("missing/admin.sock");
    let message = format!("{:#}", setting.serve(&Arc::default()).await.unwrap_err());
    assert!(message.contains("cannot make the socket") && message.contains("missing/admin.sock"), "{message}");
}

#[tokio::test]
async fn a_default_socket_has_its_directory_made_or_a_second_place_or_is_done_without() {
    let mut made = setting();
    made.admin.socket = StateDir { path: made.dir.path().join("run/scoregate/admin.sock"), written: false };
    let running = made.start().await;
    assert_eq!(mode(running.socket().parent().unwrap()), 0o700);

    let mut second = setting();
    std::fs::write(second.dir.path().join("file"), "").unwrap();
    second.admin.socket = StateDir { path: second.dir.path().join("file/admin.sock"), written: false };
    second.fallbacks = Fallbacks { runtime_dir: Some(second.dir.path().join("user")), state_home: None };
    let running = second.start().await;
    assert_eq!(running.socket(), running.dir.path().join("user/scoregate/admin.sock"));

    let mut without = setting();
    std::fs::write(without.dir.path().join("file"), "").unwrap();
    without.admin.socket = StateDir { path: without.dir.path().join("file/admin.sock"), written: false };
    let running = without.start().await;
    assert_eq!(running.handle.socket, None);
    assert_eq!(running.ask_tcp(Ask::new("GET", "/livez")).await.status, 200);
}

#[tokio::test]
async fn a_taken_port_is_an_error_with_its_address_and_key_and_nothing_is_served() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    for key in ["admin.address", "health.address"] {
        let mut setting = setting();
        match key {
            "admin.address" => setting.admin.address = Some(address),
            _ => setting.health = Some(address),
        }
        let message = format!("{:#}", setting.serve(&Arc::default()).await.unwrap_err());
        assert!(message.contains(&address.to_string()) && message.contains(key), "{message}");
        assert!(message.to_lowercase().contains("in use"), "{message}");
        assert!(!setting.admin.socket.path.exists());
    }
}

#[tokio::test]
async fn the_token_is_made_for_the_owner_alone_and_used_again() {
    let mut first = setting();
    first.admin.token = None;
    let state_dir = first.state_dir.clone();
    let running = first.start().await;
    let file = state_dir.path.join("admin.token");
    assert_eq!(mode(&file), 0o600);
    let token = std::fs::read_to_string(&file).unwrap();
    assert_eq!(token.trim_end().len(), 43);
    assert_eq!(running.ask_tcp(Ask::new("GET", "/config").token(token.trim_end())).await.status, 200);

    let mut second = setting();
    second.admin.token = None;
    second.state_dir = state_dir;
    let again = second.start().await;
    assert_eq!(again.ask_tcp(Ask::new("GET", "/config").token(token.trim_end())).await.status, 200);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), token);
}

#[tokio::test]
async fn stopping_closes_every_listener_and_idle_connection() {
    let running = setting().start().await;
    let addresses = [running.handle.address.unwrap(), running.handle.health.unwrap()];
    let idle = TcpStream::connect(addresses[0]).await.unwrap();
    running.handle.stop().await;
    let mut end = [0; 1];
    idle.readable().await.unwrap();
    assert!(matches!(idle.try_read(&mut end), Ok(0) | Err(_)));
    for address in addresses {
        assert!(TcpStream::connect(address).await.is_err());
    }
}
