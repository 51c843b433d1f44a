package awsstub

import (
	"crypto/subtle"
	"encoding/xml"
	"regexp"
	"slices"
	"strconv"
	"time"
)

const sts = "sts"

func stsOperations() map[string]operation {
	op := func(run func(*Server, *exchange) (any, error)) operation {
		return operation{service: sts, protocol: queryProtocol{stsNamespace}, run: run}
	}
	web := op((*Server).assumeRoleWithWebIdentity)
	web.unsigned = true
	return map[string]operation{
		"AssumeRole":                op((*Server).assumeRole),
		"AssumeRoleWithWebIdentity": web,
		"GetCallerIdentity":         op((*Server).getCallerIdentity),
	}
}

type stsCredentials struct {
	AccessKeyID     string `xml:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      string
}

type assumedRole struct {
	Credentials stsCredentials
	User        struct {
		ARN string `xml:"Arn"`
		ID  string `xml:"AssumedRoleId"`
	} `xml:"AssumedRoleUser"`
	Subject  string `xml:"SubjectFromWebIdentityToken,omitempty"`
	Provider string `xml:"Provider,omitempty"`
	Audience string `xml:"Audience,omitempty"`
}

func newAssumedRole(id Identity) assumedRole {
	a := assumedRole{Credentials: stsCredentials{id.AccessKeyID, id.SecretAccessKey, id.SessionToken, id.Expires.Format(time.RFC3339)}}
	a.User.ARN, a.User.ID = id.ARN, id.userID
	return a
}

type assumeRoleResponse struct {
	XMLName   xml.Name    `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleResponse"`
	Result    assumedRole `xml:"AssumeRoleResult"`
	RequestID string      `xml:"ResponseMetadata>RequestId"`
}

func (s *Server) assumeRole(x *exchange) (any, error) {
	session, lifetime, err := sessionTerms(x)
	if err != nil {
		return nil, err
	}
	arn := x.form.Get("RoleArn")
	role, ok := s.principals.role(arn)
	trusted := ok && (role.Trusts == nil || slices.Contains(role.Trusts, x.caller.ARN))
	trusted = trusted && (role.ExternalID == "" || role.ExternalID == x.form.Get("ExternalId"))
	if !trusted { // AWS does not tell a wrong external id from an unknown role
		return nil, refuse("AccessDeniedException", "User: %s is not authorized to perform: sts:AssumeRole on resource: %s", x.caller.ARN, arn)
	}
	if err := x.caller.allowed("sts:AssumeRole", arn); err != nil {
		return nil, err
	}
	id := s.principals.issue(role, session, lifetime, s.now())
	return assumeRoleResponse{Result: newAssumedRole(id), RequestID: newRequestID()}, nil
}

type webIdentityResponse struct {
	XMLName   xml.Name    `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleWithWebIdentityResponse"`
	Result    assumedRole `xml:"AssumeRoleWithWebIdentityResult"`
	RequestID string      `xml:"ResponseMetadata>RequestId"`
}

func (s *Server) assumeRoleWithWebIdentity(x *exchange) (any, error) {
	session, lifetime, err := sessionTerms(x)
	if err != nil {
		return nil, err
	}
	role, ok := s.principals.role(x.form.Get("RoleArn"))
	if !ok || role.WebIdentityToken == "" {
		return nil, refuse("AccessDeniedException", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	}
	if subtle.ConstantTimeCompare([]byte(role.WebIdentityToken), []byte(x.form.Get("WebIdentityToken"))) == 0 {
		return nil, refuse("InvalidIdentityToken", "The web identity token that was passed could not be validated by AWS.")
	}
	result := newAssumedRole(s.principals.issue(role, session, lifetime, s.now()))
	result.Subject, result.Provider, result.Audience = "system:serviceaccount:default:app", "arn:aws:iam::"+AccountID+":oidc-provider/oidc.example", "sts.amazonaws.com"
	return webIdentityResponse{Result: result, RequestID: newRequestID()}, nil
}

var validSessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

// sessionTerms reads the session name and how long the session is to last: an hour unless asked otherwise.
func sessionTerms(x *exchange) (name string, lifetime time.Duration, err error) {
	name = x.form.Get("RoleSessionName")
	if !validSessionName.MatchString(name) {
		return "", 0, refuse("ValidationError", `1 validation error detected: Value at 'roleSessionName' failed to satisfy constraint: `+
			`Member must satisfy regular expression pattern: [\w+=,.@-]*`)
	}
	seconds := 3600
	if asked := x.form.Get("DurationSeconds"); asked != "" {
		seconds, err = strconv.Atoi(asked)
		if err != nil || seconds < 900 || seconds > 43200 {
			return "", 0, refuse("ValidationError", "1 validation error detected: Value at 'durationSeconds' failed to satisfy constraint: "+
				"Member must have value between 900 and 43200")
		}
	}
	return name, time.Duration(seconds) * time.Second, nil
}

type callerIdentityResponse struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	ARN       string   `xml:"GetCallerIdentityResult>Arn"`
	UserID    string   `xml:"GetCallerIdentityResult>UserId"`
	Account   string   `xml:"GetCallerIdentityResult>Account"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

func (s *Server) getCallerIdentity(x *exchange) (any, error) {
	return callerIdentityResponse{ARN: x.caller.ARN, UserID: x.caller.userID, Account: AccountID, RequestID: newRequestID()}, nil
}
