package probe

import (
	"errors"
	"fmt"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
)

// OwnDatabase returns the database that credproxy itself logs in to: "" for the configuration's
// database, else the secret's. PostgreSQL wants one, and the name that it would take
// otherwise, the user's, is seldom one.
func OwnDatabase(db *config.Database, engine config.Engine, cred *secrets.Credential) string {
	switch none := db.Database == config.NoDatabase; {
	case engine != config.Postgres, !none && (db.Database != "" || cred.Endpoint.Database != ""):
		return ""
	case none && cred.Endpoint.Database != "":
		return cred.Endpoint.Database
	case len(db.Access.Databases) > 0:
		return db.Access.Databases[0]
	}
	return maintenanceDatabase
}

// maintenanceDatabase is there on most servers of PostgreSQL, and on RDS.
const maintenanceDatabase = "postgres"

// Acceptance is what the answer to a login says about the credential.
type Acceptance int

const (
	NotAccepted        Acceptance = iota // refused, or nothing is said about it
	Accepted                             // taken; nothing is wrong that anybody has asked for
	AcceptedThenFailed                   // taken, and then something is wrong
)

// AcceptanceOf returns what err, from a login to database, says about the credential. The
// failure is what is wrong with AcceptedThenFailed. A database that takes the credential
// and minds a name that nobody has asked for has accepted it.
func AcceptanceOf(db *config.Database, database string, err error) (Acceptance, *fault.Error) {
	if err == nil {
		return Accepted, nil
	}
	said, ok := errors.AsType[*fault.SQLError](err)
	if !ok {
		return NotAccepted, nil
	}
	failure := &fault.Error{Kind: fault.UpstreamRefused, Message: fmt.Sprintf("the database took the credential and then said: %s (%s)", said.Message, said.Code)}
	switch {
	case said.Code == invalidCatalogName, said.Code == insufficientPrivilege && db.Session.Role == "", said.Code == dbAccessDenied, said.Code == badDatabase:
		if database == maintenanceDatabase {
			return Accepted, nil
		}
		failure.Hint = "Is it the right database that the configuration or the secret names, and may the user connect to it?"
	}
	return AcceptedThenFailed, failure
}

// SQLSTATEs of PostgreSQL.
const (
	invalidCatalogName    = "3D000" // there is no such database
	insufficientPrivilege = "42501" // or it is not for this user
)

// The same two of MySQL and MariaDB.
const (
	badDatabase    = "1049" // ER_BAD_DB_ERROR
	dbAccessDenied = "1044" // ER_DBACCESS_DENIED_ERROR
)
