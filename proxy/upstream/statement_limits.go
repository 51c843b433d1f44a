package upstream

import (
	"time"
)

// Caps on what credproxy itself asks a database (Query of the engines). Its
// statements are small; a database that answers with more is no database.
const (
	QueryTimeout = time.Minute // for login and statements together, unless the context ends sooner
	MaxColumns   = 64
	MaxRows      = 1000
	MaxAnswer    = 1 << 20 // the answer to one statement, in bytes
)
