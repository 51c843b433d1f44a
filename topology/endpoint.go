package topology

import (
	"regexp"
	"slices"
	"strings"
)

// maxName is how long the identifier of an RDS instance may be (RDS User Guide, "Quotas and
// constraints": naming constraints), and any label of a host name (RFC 1035, section 2.3.4).
const maxName = 63

// rdsEndpoint matches the endpoints of instances, of clusters, of their readers, and custom
// ones, in lower case. Its group is the domain that all instances of one account in one region
// share. Most regions have it as ID.REGION.rds.amazonaws.com; China and the isolated ones as
// ID.rds.REGION. Endpoints of RDS Proxy (proxy-ID) do not match: there are no instances to see
// behind one.
var rdsEndpoint = regexp.MustCompile(`^[a-z0-9-]+\.(?:cluster-(?:ro-|custom-)?)?` +
	`([a-z0-9]+\.(?:[a-z0-9-]+\.rds|rds\.[a-z0-9-]+)\.` +
	`(?:amazonaws\.com|amazonaws\.com\.cn|amazonaws\.eu|c2s\.ic\.gov|sc2s\.sgov\.gov))$`)

// InstanceHost is the endpoint of the instance called name beside endpoint, which is one of a
// cluster or of another instance: "orders-1" beside
// orders.cluster-abc.eu-west-1.rds.amazonaws.com is orders-1.abc.eu-west-1.rds.amazonaws.com
// (Aurora User Guide, "Amazon Aurora endpoint connections"). It is not ok where endpoint is no
// such thing, an address or a domain of somebody's own, or name is no identifier.
func InstanceHost(endpoint, name string) (host string, ok bool) {
	domain := accountDomain(endpoint)
	name, ok = identifier(name)
	if domain == "" || !ok {
		return "", false
	}
	return name + "." + domain, true
}

// accountDomain is what the endpoints of all instances of host's account and region end with,
// "" if host is no endpoint of RDS.
func accountDomain(host string) string {
	m := rdsEndpoint.FindStringSubmatch(canonical(host))
	if m == nil || slices.ContainsFunc(strings.Split(m[0], "."), func(label string) bool { return len(label) > maxName }) {
		return ""
	}
	return m[1]
}

// identifier is name as RDS keeps it, in lower case, and whether it can be one of an instance:
// letters, digits and hyphens, which become a label of a host name.
func identifier(name string) (string, bool) {
	name = strings.ToLower(name)
	other := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }
	return name, name != "" && len(name) <= maxName && strings.IndexFunc(name, other) < 0
}

// canonical is a host name in the form in which names are compared.
func canonical(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// A scope is where a server's answer may lead to: to the places of the configuration, the one
// that was asked among them, and to endpoints of the RDS account and region that one of them
// is in. A server that lies can name others, and no credential is sent there.
type scope []Place

// of is the place of an endpoint that a server named. port 0 is that of the server asked.
func (s scope) of(endpoint string, port int) (Place, bool) {
	p := Place{Host: canonical(endpoint), Port: port}
	if port == 0 {
		p.Port = s[0].Port
	}
	if i := slices.IndexFunc(s, func(known Place) bool { return canonical(known.Host) == p.Host && known.Port == p.Port }); i >= 0 {
		return s[i], true
	}
	domain := accountDomain(p.Host)
	ours := domain != "" && slices.ContainsFunc(s, func(known Place) bool { return accountDomain(known.Host) == domain })
	return p, ours && 0 < p.Port && p.Port < 1<<16
}

// instance is the place of the instance called name, or the zero one if that cannot be known:
// beside the first endpoint of RDS, else the place whose host begins with the name.
func (s scope) instance(name string) Place {
	for _, known := range s {
		if host, ok := InstanceHost(known.Host, name); ok {
			return Place{Host: host, Port: known.Port}
		}
	}
	for _, known := range s {
		if first, _, _ := strings.Cut(canonical(known.Host), "."); first == name {
			return known
		}
	}
	return Place{}
}
