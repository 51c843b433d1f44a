package awsstub

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxBody caps a request. A secret of 64 KiB, every byte of it escaped in JSON, fits.
const maxBody = 512 << 10

const opUnknown = "Unknown"

// targets has the services that are named in the X-Amz-Target header, by the name they have there.
var targets = map[string]string{"secretsmanager": secretsManager, "AmazonSQS": sqs}

// operation is one API call the server knows.
type operation struct {
	service  string // as in credential scopes and policies; "" for the credential endpoints
	unsigned bool
	protocol protocol
	run      func(*Server, *exchange) (any, error)
}

// exchange is one request on its way through the server.
type exchange struct {
	r      *http.Request
	body   []byte
	form   url.Values // the query protocol's parameters
	named  namedSecret
	caller Identity // empty when the operation is unsigned
	served string   // version id of the secret value in the answer

	operation operation
	call      *Call
}

// namedSecret is what requests to Secrets Manager have in common: which secret they are about.
type namedSecret struct {
	SecretID  string   `json:"SecretId"`
	Name      string   `json:"Name"`
	IDs       []string `json:"SecretIdList"`
	Stage     string   `json:"VersionStage"`
	VersionID string   `json:"VersionId"`
}

func (n namedSecret) id() string {
	if n.SecretID != "" {
		return n.SecretID
	}
	if n.Name != "" {
		return n.Name
	}
	return strings.Join(n.IDs, ",")
}

func operations() map[string]operation {
	all := make(map[string]operation)
	for _, group := range []map[string]operation{secretsManagerReads(), secretsManagerWrites(), rotationOperations(), stsOperations(), rdsOperations(), sqsOperations(), metadataOperations()} {
		for name, op := range group {
			all[name] = op
		}
	}
	return all
}

// ServeHTTP serves every service; which one is meant shows in the request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(requestIDHeader, newRequestID())

	x := &exchange{r: r}
	var readErr error
	x.body, readErr = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	name, wire := x.route(s)
	op, known := s.operations[name]
	if !known {
		name = opUnknown
	}
	x.operation = op
	x.call = s.calls.begin(Call{Time: s.now(), Operation: name, AccessKeyID: claimedKey(r), SecretID: x.named.id(),
		Stage: x.named.Stage, VersionID: x.named.VersionID})

	var result any
	err := readError(readErr)
	switch {
	case err != nil:
	case !known:
		err = refuse("UnknownOperationException", "Could not find the operation asked for")
	default:
		result, err = s.perform(x)
	}
	s.reply(w, x, wire, result, err)
}

// perform checks the caller, lets a fault happen, and runs the operation. A fault that comes after it takes the place
// of its answer.
func (s *Server) perform(x *exchange) (any, error) {
	if !x.operation.unsigned {
		caller, err := s.authenticate(x.r, x.body, x.operation.service)
		if err != nil {
			return nil, err
		}
		x.caller = caller
	}
	fault := s.faults.next(x.call.Operation)
	if !fault.After {
		if err := s.disturb(x, fault); err != nil {
			return nil, err
		}
	}
	if s.reached(x, false) {
		return nil, errDropped
	}
	result, err := x.operation.run(s, x)
	if s.reached(x, true) {
		return nil, errDropped
	}
	if fault.After {
		if err := s.disturb(x, fault); err != nil {
			return nil, err
		}
	}
	return result, err
}

func (s *Server) reply(w http.ResponseWriter, x *exchange, wire protocol, result any, err error) {
	var refusal *apiError
	switch {
	case err == nil:
		s.calls.end(x.call, ResultOK, x.served)
		err = wire.answer(w, result)
		if err != nil {
			panic(err) // an answer that cannot be encoded is a defect of this package
		}
	case errors.Is(err, errHung), errors.Is(err, errDropped):
		s.calls.end(x.call, err.Error(), "")
		panic(http.ErrAbortHandler) // closes the connection with nothing sent
	case errors.As(err, &refusal):
		s.calls.end(x.call, refusal.Code, "")
		wire.refuse(w, refusal)
	default:
		panic(err)
	}
}

// route finds the operation's name and how to answer, and decodes what the log and the policies need of the request.
func (x *exchange) route(s *Server) (name string, wire protocol) {
	target := x.r.Header.Get("X-Amz-Target")
	switch {
	case target != "":
		_ = json.Unmarshal(x.body, &x.named) // the operation reads it again, and reports what is wrong with it
		service, op, _ := strings.Cut(target, ".")
		if known, ok := s.operations[op]; ok && known.service == targets[service] {
			return op, known.protocol
		}
		return opUnknown, jsonProtocol{}
	case x.r.URL.Path == "/":
		x.form, _ = url.ParseQuery(string(x.body)) // a parameter that cannot be read is missing, which the operation reports
		op := x.form.Get("Action")
		if wire, ok := s.operations[op].protocol.(queryProtocol); ok {
			return op, wire
		}
		return opUnknown, queryProtocol{stsNamespace}
	}
	return s.metadataOperation(x.r), metadataProtocol{}
}

func readError(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return &apiError{http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", "Request body is too large."}
	}
	return errDropped // the client broke off
}

// onSecret is an operation of Secrets Manager whose request is an In. The types are those of the SDK: their fields
// have the names of the wire.
func onSecret[In any](run func(*Server, *exchange, *In) (any, error)) operation {
	return operation{service: secretsManager, protocol: jsonProtocol{}, run: func(s *Server, x *exchange) (any, error) {
		in := new(In)
		if err := json.Unmarshal(x.body, in); err != nil {
			return nil, refuse("SerializationException", "The request body is not the JSON this operation takes.")
		}
		if err := x.caller.allowed(secretsManager+":"+x.call.Operation, s.resource(x)); err != nil {
			return nil, err
		}
		if err := s.mayUseKey(x); err != nil {
			return nil, err
		}
		return run(s, x, in)
	}}
}

// resource is what an error or a policy names: the secret's ARN, or what was asked for when there is no such secret.
func (s *Server) resource(x *exchange) string {
	switch {
	case x.operation.service == sts:
		return x.form.Get("RoleArn")
	case x.operation.service == sqs:
		return s.queueARN(queueURL(x.body))
	case x.operation.service == rds:
		return s.databases.resource(s, x)
	case len(x.named.IDs) > 0 || x.named.id() == "":
		return "*"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.arnOf(x.named.id())
}
