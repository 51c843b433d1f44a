package admin

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// guarded lets only a program on this machine reach next: both ends of the
// connection are on loopback, whatever admin.listen says, and no web page has
// made a browser send the request.
//
// A page can reach loopback in two ways. It may send the request across origins,
// which browsers tell by Sec-Fetch-Site or Origin. Or its own name may be made to
// lead to 127.0.0.1 (DNS rebinding), which only the Host header tells.
func guarded(next http.Handler) http.Handler {
	var origins http.CrossOriginProtection
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		post := r.WithContext(r.Context())
		post.Method = http.MethodPost // a profile costs something too: hold GET to the same rule
		switch {
		case !isLoopback(r.RemoteAddr) || !isLoopback(localAddr(r)):
			answer(w, http.StatusForbidden, "this works over a loopback address of credproxy's machine only")
		case !localHost(r.Host):
			answer(w, http.StatusForbidden, "the Host header must be localhost or a loopback address")
		case origins.Check(post) != nil:
			answer(w, http.StatusForbidden, "a web page of another origin may not do this")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// connKey is the key of the connection in a request's context.
type connKey struct{}

// allowed lets only users reach next whom mayControl lets.
func allowed(mayControl func(net.Conn) error, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _ := r.Context().Value(connKey{}).(net.Conn)
		if mayControl == nil {
			answer(w, http.StatusForbidden, "nobody may do this here")
		} else if err := mayControl(conn); err != nil {
			answer(w, http.StatusForbidden, err.Error())
		} else {
			next.ServeHTTP(w, r)
		}
	})
}

// unrebound refuses requests that reach a loopback address under a name that is
// not its own: a web page whose name was made to lead here could read the answer.
func unrebound(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isLoopback(localAddr(r)) && !localHost(r.Host) && !isAddress(r.Host) {
			answer(w, http.StatusForbidden, "on a loopback address the Host header must be localhost or an IP address")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// localAddr is the address that a request came to, "" if unknown.
func localAddr(r *http.Request) string {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		return a.String()
	}
	return ""
}

func isLoopback(addr string) bool {
	a, err := netip.ParseAddrPort(addr)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// localHost reports whether a Host header names this machine itself.
func localHost(host string) bool {
	name := strings.ToLower(hostname(host))
	if a, err := netip.ParseAddr(name); err == nil {
		return a.Unmap().IsLoopback()
	}
	return name == "localhost"
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(hostname(host))
	return err == nil
}

// hostname is a Host header without port and brackets.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}
