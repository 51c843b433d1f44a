// Package upgrade puts a new process in the place of a running one, which keeps its
// sessions.
//
// The old process starts the program as it is on the disk by then ([Start]) and passes it
// the sockets that it listens on. The two talk over a line, a pair of connected unix
// sockets that has no name:
//
//	new → old  ready      it could serve; or "failed: why"
//	old → new  accept     accept from now on; the old one stops
//	new → old  settled    it has served for a moment
//	old → new  main       the old one has told systemd, and never accepts again
//
// Until "main" the old one can go back, since it has all its sockets: it says "failed: why", on which
// the new one accepts no longer and ends with its last client, and is killed if it takes longer than a drain.
// From "accept" on the line is also how the new process reaches the old one ([Predecessors.Ask]):
// it passes the old one an end of a fresh connection, on which the old one serves HTTP. The
// next upgrade passes the lines on, so that every process reaches all that still have
// sessions.
//
// Invariant: whoever is on a line was given it by the process that made it. A line has no
// name under which anybody could look for it, whatever their user.
//
// The package knows no database, no configuration and no metric: what sockets are for, and
// what is said of them, is in keys and a State that it passes on as they are. It works on Linux;
// elsewhere [Possible] says no.
package upgrade
