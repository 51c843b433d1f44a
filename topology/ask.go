package topology

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/credproxy/credproxy/proxy/fault"
)

// What servers may say, and how long they may take.
const (
	askTimeout = time.Second // for one statement about other servers; the server stops it then
	maxAge     = 300         // seconds; Aurora keeps the rows of instances that are gone
	maxLag     = 24 * time.Hour
)

// writersSession is the session_id of the writer's row in Aurora's lists of instances (Aurora
// User Guide, "aurora_replica_status" and "information_schema.replica_host_status").
const writersSession = "MASTER_SESSION_ID"

// optional is what a server says to a statement that not all have an answer to: no rows if it
// refuses, for want of a table, of a right or of time. Any other error is the connection's.
func (a *Answer) optional(rows [][]string, err error) ([][]string, error) {
	if _, said := errors.AsType[*fault.SQLError](err); said {
		a.Partial = true
		return nil, nil
	}
	return rows, err
}

// addAurora adds the instances of Aurora's list. A row is identifier, session, lag in
// milliseconds, and when it was brought up to date in seconds of any clock. Rows far behind the
// youngest are of instances that are gone. Of several writers the youngest is one: the others
// were.
func (a *Answer) addAurora(rows [][]string, in scope) {
	const name, session, lag, updated, columns = 0, 1, 2, 3, 4
	rows = slices.DeleteFunc(slices.Clone(rows), func(row []string) bool { return len(row) < columns })
	slices.SortStableFunc(rows, func(x, y []string) int { return cmp.Compare(number(y[updated]), number(x[updated])) })
	writer := slices.IndexFunc(rows, func(row []string) bool { return row[session] == writersSession })
	for i, row := range rows {
		old := row[updated] != "" && number(rows[0][updated])-number(row[updated]) > maxAge
		id, ok := identifier(row[name])
		if !ok || old && i != writer {
			continue
		}
		instance := Instance{Place: in.instance(id), Name: id, Role: Reader, Lag: lagOf(row[lag])}
		switch {
		case i == writer:
			instance.Role, instance.Lag = Writer, 0
		case row[session] == writersSession:
			instance.Role = Unknown
		}
		a.add(instance)
	}
}

// A member is a row of mysql.rds_topology or of rds_tools.show_topology(): a server of a
// Multi-AZ DB cluster, or one side of a Blue/Green deployment. The columns differ from version
// to version; those that a server does not have are empty.
type member struct {
	ID       text `json:"id"`
	Endpoint text `json:"endpoint"`
	Port     text `json:"port"`
	Role     text `json:"role"`   // of a deployment only
	Status   text `json:"status"` // of a deployment only
}

// memberColumns are the columns of a member, in the order of its fields.
var memberColumns = []string{"id", "endpoint", "port", "role", "status"}

// deploymentTarget is the role of the green side of a Blue/Green deployment.
const deploymentTarget = "BLUE_GREEN_DEPLOYMENT_TARGET"

// place is where the member listens, if it may lead there.
func (m member) place(in scope) (Place, bool) {
	port, err := strconv.Atoi(string(m.Port))
	if m.Port != "" && (err != nil || port == 0) {
		return Place{}, false
	}
	return in.of(string(m.Endpoint), port)
}

// addCluster adds the servers of a Multi-AZ DB cluster. writer is the id of the one that the
// server asked takes for the writer; "" if it does not say.
func (a *Answer) addCluster(members []member, writer string, in scope) {
	for _, m := range members {
		first, _, _ := strings.Cut(string(m.Endpoint), ".")
		id, named := identifier(first)
		place, ours := m.place(in)
		if m.Role != "" || !named || !ours {
			continue
		}
		instance := Instance{Place: place, Name: id, Lag: -1}
		switch {
		case writer == "":
		case string(m.ID) == writer:
			instance.Role, instance.Lag = Writer, 0
		default:
			instance.Role = Reader
		}
		a.add(instance)
	}
}

// addDeployment says how far a Blue/Green deployment has got, and where it leads: to the green
// cluster's own endpoint, else to the green instance (RDS User Guide, "Switching a blue/green
// deployment").
func (a *Answer) addDeployment(members []member, in scope) {
	cluster := false
	for _, m := range members {
		if !strings.EqualFold(string(m.Role), deploymentTarget) {
			continue
		}
		a.Switchover = max(a.Switchover, switchoverOf(string(m.Status)))
		place, ours := m.place(in)
		_, after, _ := strings.Cut(place.Host, ".")
		readers := strings.HasPrefix(after, "cluster-ro-") || strings.HasPrefix(after, "cluster-custom-")
		if !ours || readers {
			continue
		}
		if toCluster := strings.HasPrefix(after, "cluster-"); a.Green == nil || toCluster && !cluster {
			a.Green, cluster = &place, toCluster
		}
	}
}

// switchoverOf reads the column status.
func switchoverOf(status string) Switchover {
	switch strings.ToUpper(status) {
	case "SWITCHOVER_INITIATED":
		return SwitchoverInitiated
	case "SWITCHOVER_IN_PROGRESS", "SWITCHOVER_IN_POST_PROCESSING":
		return SwitchoverUnderWay
	case "SWITCHOVER_COMPLETED":
		return SwitchoverDone
	}
	return NoSwitchover
}

// setName sets the server's own identifier, if it is one.
func (a *Answer) setName(name string) {
	if id, ok := identifier(name); ok {
		a.Name = id
	}
}

// nameMember sets the server's own identifier to that of the member with its id.
func (a *Answer) nameMember(members []member, id string) {
	if i := slices.IndexFunc(members, func(m member) bool { return id != "" && string(m.ID) == id }); i >= 0 {
		first, _, _ := strings.Cut(string(members[i].Endpoint), ".")
		a.setName(first)
	}
}

// add adds an instance, once for each name. What the server that was asked knows of itself
// counts more than its list, which is behind during a failover.
func (a *Answer) add(i Instance) {
	if i.Name == a.Name && a.Self != Unknown && a.Self != i.Role {
		i.Role, i.Lag = a.Self, -1
	}
	known := slices.ContainsFunc(a.Instances, func(other Instance) bool { return other.Name == i.Name })
	if !known && len(a.Instances) < MaxInstances {
		a.Instances = append(a.Instances, i)
	}
}

// lagOf reads a lag in milliseconds. One that is none is unknown; one beyond all sense is a day.
func lagOf(ms string) time.Duration {
	lag, err := strconv.ParseFloat(ms, 64)
	if err != nil || math.IsNaN(lag) || lag < 0 {
		return -1
	}
	return time.Duration(min(lag, float64(maxLag.Milliseconds())) * float64(time.Millisecond))
}

// number reads a number; what is none is the least.
func number(s string) float64 {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(n) {
		return math.Inf(-1)
	}
	return n
}
