package proxy

import (
	"time"

	"go.uber.org/zap"
)

// Caps on what credproxy itself asks a database (Query of the engines). Its
// statements are small; a database that answers with more is no database.
const (
	QueryTimeout = time.Minute // for login and statements together, unless the context ends sooner
	MaxColumns   = 64
	MaxRows      = 1000
	MaxAnswer    = 1 << 20 // the answer to one statement, in bytes
)

// Unobserved is the [Phase] of credproxy's own logins, which are no client's.
func Unobserved(string, time.Time, ...zap.Field) {}
