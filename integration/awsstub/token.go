package awsstub

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	maxToken        = 8 << 10 // a token with a session token inside is under 2 KiB
	maxTokenExpires = 900

	// The services that tokens are scoped to, which are the prefixes of their actions, too.
	rdsConnect  = "rds-db"
	dsqlConnect = "dsql"
)

// VerifyRDSToken decides as RDS does whether token lets user connect to host:port at the time now. The host is the one
// the token was signed for, which RDS compares with the instance's own endpoint
// (https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html).
// RDS itself tells the client nothing but that authentication failed; the error here says why.
func (s *Server) VerifyRDSToken(token, host string, port int, user string, now time.Time) error {
	u, says, err := readToken(token, net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	if says["Action"] != "connect" {
		return fmt.Errorf("token's action is %q, not connect", says["Action"])
	}
	if says["DBUser"] != user {
		return fmt.Errorf("token is for user %q, not %q", says["DBUser"], user)
	}
	signer, err := s.tokenSigner(u, says, rdsConnect, now)
	if err != nil {
		return err
	}
	return signer.allowed(rdsConnect+":connect", "arn:aws:rds-db:"+s.region+":"+AccountID+":dbuser:*/"+user)
}

// VerifyDSQLToken decides as Aurora DSQL does whether token lets a database role connect to the cluster whose endpoint
// host is, at the time now. The role admin has an action of its own. Of another the token does not say which it is:
// granted is whom AWS IAM GRANT has named for it, by their ARNs
// (https://docs.aws.amazon.com/aurora-dsql/latest/userguide/authentication-authorization.html).
func (s *Server) VerifyDSQLToken(token, host, role string, granted []string, now time.Time) error {
	u, says, err := readToken(token, host)
	if err != nil {
		return err
	}
	action := "DbConnect"
	if role == "admin" {
		action = "DbConnectAdmin"
	}
	if says["Action"] != action {
		return fmt.Errorf("token's action is %q, not %s", says["Action"], action)
	}
	signer, err := s.tokenSigner(u, says, dsqlConnect, now)
	if err != nil {
		return err
	}
	if role != "admin" && !slices.Contains(granted, signer.principal()) {
		return fmt.Errorf("role %q is not granted to %s", role, signer.principal())
	}
	id, _, _ := strings.Cut(host, ".")
	return signer.allowed(dsqlConnect+":"+action, "arn:aws:dsql:"+s.region+":"+AccountID+":cluster/"+id)
}

// readToken returns what a token for host says, which nobody has verified.
func readToken(token, host string) (*url.URL, map[string]string, error) {
	u, err := parseToken(token)
	if err != nil {
		return nil, nil, err
	}
	if u.Host != host {
		return nil, nil, fmt.Errorf("token is for endpoint %q, not %q", u.Host, host)
	}
	says, err := singleValues(u.RawQuery)
	return u, says, err
}

// tokenSigner checks a token's age and signature, and returns who signed it.
func (s *Server) tokenSigner(u *url.URL, says map[string]string, service string, now time.Time) (signer Identity, err error) {
	signed, err := tokenTime(says, now)
	if err != nil {
		return signer, err
	}
	sc, err := s.tokenScope(says, service, signed)
	if err != nil {
		return signer, err
	}
	signer, err = s.tokenIdentity(sc.key, says["X-Amz-Security-Token"], now)
	if err != nil {
		return signer, err
	}
	return signer, checkTokenSignature(u, signer, sc, signed, says["X-Amz-Signature"])
}

func parseToken(token string) (*url.URL, error) {
	if len(token) > maxToken {
		return nil, fmt.Errorf("token has %d bytes, over %d", len(token), maxToken)
	}
	if strings.Contains(token, "://") {
		return nil, errors.New("token has a scheme")
	}
	u, err := url.Parse("https://" + token)
	if err != nil {
		return nil, errors.New("token is not a URL without its scheme") // the cause would show the token
	}
	if u.User != nil || u.Fragment != "" || (u.Path != "" && u.Path != "/") {
		return nil, errors.New("token is not of the form host:port/?query")
	}
	return u, nil
}

// singleValues reads a query in which nothing may be said twice.
func singleValues(raw string) (map[string]string, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, errors.New("token's query cannot be read")
	}
	single := make(map[string]string, len(values))
	for name, v := range values {
		if len(v) != 1 {
			return nil, fmt.Errorf("token's parameter %q is given more than once", name)
		}
		single[name] = v[0]
	}
	return single, nil
}

func tokenTime(query map[string]string, now time.Time) (time.Time, error) {
	seconds, err := strconv.Atoi(query["X-Amz-Expires"])
	if err != nil || seconds < 1 || seconds > maxTokenExpires {
		return time.Time{}, fmt.Errorf("token's X-Amz-Expires is %q, not 1 to %d seconds", query["X-Amz-Expires"], maxTokenExpires)
	}
	signed, err := time.Parse(dateLayout, query["X-Amz-Date"])
	if err != nil {
		return time.Time{}, fmt.Errorf("token's X-Amz-Date %q is not a time", query["X-Amz-Date"])
	}
	end := signed.Add(time.Duration(seconds) * time.Second)
	if !now.Before(end) {
		return time.Time{}, fmt.Errorf("token expired at %s", end.Format(time.RFC3339))
	}
	if signed.After(now.Add(maxSkew)) {
		return time.Time{}, fmt.Errorf("token is not valid yet: signed at %s", signed.Format(time.RFC3339))
	}
	return signed, nil
}

func (s *Server) tokenScope(query map[string]string, service string, signed time.Time) (scope, error) {
	sc, ok := parseScope(query["X-Amz-Credential"])
	switch {
	case query["X-Amz-Algorithm"] != algorithm:
		return sc, fmt.Errorf("token's algorithm is %q, not %s", query["X-Amz-Algorithm"], algorithm)
	case !ok:
		return sc, errors.New("token's X-Amz-Credential is not key/date/region/service/aws4_request")
	case sc.service != service:
		return sc, fmt.Errorf("token is scoped to service %q, not %s", sc.service, service)
	case sc.region != s.region:
		return sc, fmt.Errorf("token is scoped to region %q, not %s", sc.region, s.region)
	case sc.date != signed.Format("20060102"):
		return sc, fmt.Errorf("token's scope is of day %q, its X-Amz-Date of %s", sc.date, signed.Format("20060102"))
	case query["X-Amz-SignedHeaders"] != "host":
		return sc, fmt.Errorf("token's signed headers are %q, not host", query["X-Amz-SignedHeaders"])
	}
	return sc, nil
}

func (s *Server) tokenIdentity(key, sessionToken string, now time.Time) (Identity, error) {
	id, ok := s.principals.identity(key)
	switch {
	case !ok:
		return id, fmt.Errorf("token is signed with an unknown access key %q", key)
	case subtle.ConstantTimeCompare([]byte(id.SessionToken), []byte(sessionToken)) == 0:
		return id, errors.New("token's session token does not belong to its access key")
	case id.expired(now):
		return id, fmt.Errorf("the credentials that signed the token expired at %s", id.Expires.Format(time.RFC3339))
	}
	return id, nil
}

// checkTokenSignature presigns the token's own URL again.
func checkTokenSignature(u *url.URL, id Identity, sc scope, signed time.Time, signature string) error {
	query := u.Query()
	query.Del("X-Amz-Signature")
	unsigned := *u
	unsigned.RawQuery = query.Encode()
	again := &http.Request{Method: http.MethodGet, URL: &unsigned, Host: u.Host, Header: make(http.Header)}
	uri, _, err := v4.NewSigner().PresignHTTP(context.Background(), id.credentials(), again, payloadHash(nil), sc.service, sc.region, signed)
	if err != nil {
		return fmt.Errorf("sign the token again: %w", err)
	}
	want, err := url.Parse(uri)
	if err != nil {
		return fmt.Errorf("read the token signed again: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(want.Query().Get("X-Amz-Signature")), []byte(signature)) == 0 {
		return errors.New("token's signature does not match")
	}
	return nil
}
