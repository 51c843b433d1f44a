package discovery

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/inventory"
)

// admission is what is taken, and by whom.
type admission struct {
	owners                    map[string]inventory.Claim // the first claims on names
	names, endpoints, sockets map[string]string
	secrets                   []*config.SecretsManager // of databases of the file whose secret says where they are
	count                     int
}

// admit decides which candidates are served beside the databases of cfg: the older one first,
// so that neither the order in which they were found nor one that comes changes what a name,
// an endpoint or a socket leads to.
func admit(all []*candidate, owners map[string]inventory.Claim, cfg *config.Config) {
	a := admission{owners: owners, names: map[string]string{}, endpoints: map[string]string{}, sockets: map[string]string{}, count: len(cfg.Databases)}
	if path, unix := strings.CutPrefix(cfg.Admin.Control, "unix:"); unix {
		a.sockets[filepath.Clean(path)] = "admin.control"
	}
	for _, db := range cfg.Databases {
		a.take(&db, "databases")
	}
	ordered := slices.SortedStableFunc(slices.Values(all), func(x, y *candidate) int { return x.claim.Before(y.claim) })
	for _, c := range ordered {
		if c.why != "" {
			continue
		}
		if c.why = a.refusal(c); c.why == "" {
			a.count++
			a.take(&c.Database, c.Name)
		}
	}
}

// take notes what a database has.
func (a *admission) take(db *config.Database, by string) {
	a.names[db.Name] = by
	for _, at := range endpoints(db) {
		a.endpoints[at] = by
	}
	for _, path := range sockets(db) {
		a.sockets[path] = by
	}
	if from := db.Credentials.SecretsManager; from != nil && db.Host == "" {
		a.secrets = append(a.secrets, from)
	}
}

// refusal returns why a candidate is not served, "" if it is.
func (a *admission) refusal(c *candidate) string {
	if by := a.endpoints[endpoint(&c.Database)]; by != "" {
		return "its endpoint is served already, by " + by
	}
	if c.Role != config.Reader && slices.ContainsFunc(a.secrets, func(of *config.SecretsManager) bool {
		return slices.ContainsFunc(c.secrets, func(arn string) bool { return names(of, arn, c.Credentials) })
	}) {
		return "it is served already, by one of databases that has its secret, and its host from there"
	}
	if owner := a.owners[c.Name]; owner.ID != c.claim.ID {
		return "its name is that of " + owner.ID + ", which is older; set prefix if that is another entry's, else rename one of the two in AWS"
	}
	if by := a.names[c.Name]; by != "" {
		return "its name is taken by " + by + "; set prefix"
	}
	for _, path := range sockets(&c.Database) {
		if by := a.sockets[path]; by != "" {
			return fmt.Sprintf("its socket %s is that of %s; change each.listen, or set prefix", path, by)
		}
	}
	if a.count >= config.MaxDatabases {
		return fmt.Sprintf("a configuration holds %d databases; narrow them by tags", config.MaxDatabases)
	}
	if err := c.Check(); err != nil {
		return err.Error()
	}
	return ""
}

// sockets are the paths of the unix sockets that db listens on.
func sockets(db *config.Database) (paths []string) {
	for _, listen := range db.Listen {
		if path, unix := strings.CutPrefix(listen, "unix:"); unix {
			paths = append(paths, filepath.Clean(path))
		}
	}
	return paths
}

// endpoints are where a database is: none if its secret says that.
func endpoints(db *config.Database) (all []string) {
	if db.Host != "" {
		all = append(all, endpoint(db))
	}
	for _, host := range db.Hosts {
		other := *db
		other.Host = host
		if name, port, err := net.SplitHostPort(host); err == nil {
			other.Host = name
			other.Port, _ = strconv.Atoi(port)
		}
		all = append(all, endpoint(&other))
	}
	return all
}

// endpoint is the host and port of a database.
func endpoint(db *config.Database) string {
	port := db.Port
	if port == 0 && db.Engine != "" {
		port = db.Engine.Port()
	}
	return net.JoinHostPort(strings.ToLower(strings.TrimSuffix(db.Host, ".")), strconv.Itoa(port))
}

// suffix is what Secrets Manager puts behind the name of a secret in its ARN: a hyphen and
// six characters.
const suffix = 7

// names reports whether a secret of the file is the one with this ARN, which may be written as
// a name, or without its suffix. Names are those of one account, which the role stands for.
func names(of *config.SecretsManager, arn string, found config.Credentials) bool {
	if of.SecretID == arn {
		return true
	}
	parts := strings.SplitN(arn, ":", 7) // arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME
	if len(parts) < 7 || len(parts[6]) <= suffix {
		return false
	}
	if strings.HasPrefix(of.SecretID, "arn:") {
		return of.SecretID == arn[:len(arn)-suffix]
	}
	role := ""
	if from := found.SecretsManager; from != nil {
		role = from.AssumeRole.RoleARN
	}
	return of.SecretID == parts[6][:len(parts[6])-suffix] && (of.Region == "" || of.Region == parts[3]) && of.AssumeRole.RoleARN == role
}
