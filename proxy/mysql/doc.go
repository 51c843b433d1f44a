// Package mysql speaks the MySQL client/server protocol, as MySQL and MariaDB do, to
// clients: as a server that takes any password. The other side of a login, to the
// database, is package backend; the packets are package wire.
//
// A session is a list of steps: dial and read the database's greeting → pass it
// on with a salt of our own → read the client's answer → TLS and login at the
// database with the client's own flags (again with another credential if the
// first is refused) → the database's OK → raw relay, until a COM_CHANGE_USER,
// which credproxy answers itself.
//
// Invariants: the client hears OK only after the database said so; both legs agree on
// every flag that changes framing but CLIENT_COMPRESS, which ends here, so results pass
// untouched; a client that was told of another database than it would get is told so
// instead; a session is another client's only if it is known that the last one's commands
// are all answered, and the id of a connection that a client was told names its own or none; a client that leaves before it answered leaves no half-done handshake behind,
// which would count toward the database's max_connect_errors.
//
// The package compresses nothing, though it takes what clients compress, and looks at
// nothing that a client sends after login but the first byte of each command.
//
// The reference is "Client/Server Protocol" in the MySQL source documentation;
// page names in comments are its. MariaDB's differences are in its knowledge base
// under the same titles.
package mysql
