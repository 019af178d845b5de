//! Requests that are none, and connections.

use crate::rig::{Instance, read, write};

#[test]
fn paths_and_methods_that_are_not_there() {
    let vm = Instance::new();
    for (answer, words) in [
        (
            vm.get("/foo"),
            "Invalid request method and/or path: GET foo.",
        ),
        (
            vm.put("/foo/bar", "{}"),
            "Invalid request method and/or path: PUT foo.",
        ),
        (
            vm.get("/drives"),
            "Invalid request method and/or path: GET drives.",
        ),
        (
            vm.delete("/vm"),
            "Invalid request method and/or path: DELETE vm.",
        ),
        (
            vm.put("/snapshot", "{}"),
            "Missing snapshot operation type.",
        ),
        (
            vm.put("/mmds/foo", "{}"),
            "Unrecognized PUT request path `foo`.",
        ),
        (
            vm.get("/balloon/foo"),
            "Unrecognized GET request path `foo`.",
        ),
        (vm.bare("PUT", "/actions"), "Empty PUT request."),
        (vm.bare("PATCH", "/vm"), "Empty PATCH request."),
        (vm.bare("POST", "/actions"), "Invalid HTTP Method: POST"),
    ] {
        assert_eq!(answer.fault(), words);
    }
    let wrong = vm.put("/actions", "{'action_type': 'Sleep'}");
    assert!(wrong.fault().starts_with(
        "An error occurred when deserializing the json body of a request: unknown variant `Sleep`, expected one of `FlushMetrics`, `InstanceStart`, `SendCtrlAltDel`"
    ), "{}", wrong.fault());
}

#[test]
fn one_connection_takes_many_requests_also_at_once() {
    let vm = Instance::new();
    let mut stream = vm.connect();
    write(&mut stream, "GET", "/", None);
    write(&mut stream, "PUT", "/entropy", Some("{}"));
    write(&mut stream, "GET", "/version", None);
    assert_eq!(read(&mut stream).status, 200);
    assert_eq!(read(&mut stream).status, 204);
    assert_eq!(read(&mut stream).status, 200);
    let large = "x".repeat(60_000);
    write(&mut stream, "PUT", "/mmds", Some(&large));
    assert_eq!(
        read(&mut stream).fault(),
        "Request payload with size 60000 is larger than the limit of 51200 allowed by server."
    );
}

#[test]
fn a_client_too_many_is_told_so() {
    let vm = Instance::new();
    let mut clients: Vec<_> = (0..10).map(|_| vm.connect()).collect();
    for client in &mut clients {
        write(client, "GET", "/", None);
        assert_eq!(read(client).status, 200);
    }
    let mut one_more = vm.connect();
    assert_eq!(read(&mut one_more).status, 503);
    drop(clients.pop());
    // It is noticed before the next connection is taken, or with it.
    let began = std::time::Instant::now();
    loop {
        let mut next = vm.connect();
        write(&mut next, "GET", "/", None);
        if read(&mut next).status == 200 {
            break;
        }
        assert!(began.elapsed().as_secs() < 60);
    }
}
