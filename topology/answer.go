package topology

import (
	"context"
	"time"
)

// Place is where a server listens.
type Place struct {
	Host string
	Port int
}

// Role is what a server is for.
type Role uint8

// The roles. A server of an unknown one has not been asked, or is in between.
const (
	Unknown Role = iota
	Writer
	Reader
)

// Instance is one server of a database, as one of them describes it.
type Instance struct {
	Place               // the zero one if it is not known: the name may be, in a cluster that is reached by a name of somebody's own
	Name  string        // its identifier; "": none
	Role  Role          // as the server that was asked says
	Lag   time.Duration // behind the writer; negative: unknown
}

// Switchover is how far a Blue/Green deployment has got.
type Switchover uint8

// The phases, as mysql.rds_topology and rds_tools.show_topology name them.
const (
	NoSwitchover        Switchover = iota // there is no deployment, or nothing happens
	SwitchoverInitiated                   // SWITCHOVER_INITIATED
	SwitchoverUnderWay                    // SWITCHOVER_IN_PROGRESS, SWITCHOVER_IN_POST_PROCESSING
	SwitchoverDone                        // SWITCHOVER_COMPLETED
)

// Answer is what one server says of itself and of all.
type Answer struct {
	Self       Role
	Name       string     // its own identifier; "": none
	Instances  []Instance // at most MaxInstances; none: it does not know the others
	Switchover Switchover
	Green      *Place // where the Blue/Green deployment leads to; nil: none
	Partial    bool   // the server refused a question, or was too slow: what is missing may be there
}

// MaxInstances is how many servers an answer may name; the others are left out. Aurora has
// 16 at most, a Blue/Green deployment twice as many.
const MaxInstances = 64

// Session runs statements on one server and returns the rows of the last one, as the
// backends' Conn.Query does.
type Session interface {
	Query(ctx context.Context, statements ...string) ([][]string, error)
}
