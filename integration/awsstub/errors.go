package awsstub

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"

	"github.com/google/uuid"
)

// apiError is an error answer of AWS. Codes are those of the JSON protocol; queryCode has the query protocol's.
type apiError struct {
	Status  int
	Code    string
	Message string
}

func (e *apiError) Error() string { return e.Code + ": " + e.Message }

func refuse(code, format string, args ...any) *apiError {
	return &apiError{Status: http.StatusBadRequest, Code: code, Message: fmt.Sprintf(format, args...)}
}

func notAuthorized(principal, action, resource string) *apiError {
	return refuse("AccessDeniedException",
		"User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action",
		principal, action, resource, action)
}

func expiredToken() *apiError {
	return refuse("ExpiredTokenException", "The security token included in the request is expired")
}

// protocol is how a service puts answers on the wire.
type protocol interface {
	answer(w http.ResponseWriter, result any) error
	refuse(w http.ResponseWriter, e *apiError)
}

// jsonProtocol is AWS JSON 1.1 (https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html).
type jsonProtocol struct{}

const jsonContentType = "application/x-amz-json-1.1"

func (jsonProtocol) answer(w http.ResponseWriter, result any) error {
	body, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	writeBody(w, http.StatusOK, jsonContentType, body)
	return nil
}

func (jsonProtocol) refuse(w http.ResponseWriter, e *apiError) {
	w.Header().Set("X-Amzn-Errortype", e.Code)
	body, _ := json.Marshal(map[string]string{"__type": e.Code, "Message": e.Message}) // strings always encode
	writeBody(w, e.Status, jsonContentType, body)
}

// queryProtocol is the AWS query protocol (https://smithy.io/2.0/aws/protocols/aws-query-protocol.html).
type queryProtocol struct {
	namespace string // of error answers
}

const (
	stsNamespace   = "https://sts.amazonaws.com/doc/2011-06-15/"
	rdsNamespace   = "http://rds.amazonaws.com/doc/2014-10-31/"
	xmlContentType = "text/xml"
)

func (queryProtocol) answer(w http.ResponseWriter, result any) error {
	body, err := xml.Marshal(result)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	writeBody(w, http.StatusOK, xmlContentType, body)
	return nil
}

type queryError struct {
	XMLName   xml.Name
	Type      string `xml:"Error>Type"`
	Code      string `xml:"Error>Code"`
	Message   string `xml:"Error>Message"`
	RequestID string `xml:"RequestId"`
}

func (p queryProtocol) refuse(w http.ResponseWriter, e *apiError) {
	status, code := queryCode(e)
	fault := "Sender"
	if status >= http.StatusInternalServerError {
		fault = "Receiver"
	}
	body, _ := xml.Marshal(queryError{XMLName: xml.Name{Space: p.namespace, Local: "ErrorResponse"}, Type: fault, Code: code, Message: e.Message, RequestID: w.Header().Get(requestIDHeader)})
	writeBody(w, status, xmlContentType, body)
}

// queryCode translates what both protocols can say: STS has other codes and statuses for it than the JSON services
// (https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html).
func queryCode(e *apiError) (status int, code string) {
	switch e.Code {
	case "AccessDeniedException":
		return http.StatusForbidden, "AccessDenied"
	case "ExpiredTokenException":
		return http.StatusForbidden, "ExpiredToken"
	case "IncompleteSignatureException":
		return http.StatusBadRequest, "IncompleteSignature"
	case "InvalidSignatureException":
		return http.StatusForbidden, "SignatureDoesNotMatch"
	case "MissingAuthenticationTokenException":
		return http.StatusForbidden, "MissingAuthenticationToken"
	case "UnrecognizedClientException":
		return http.StatusForbidden, "InvalidClientTokenId"
	case "ThrottlingException":
		return http.StatusBadRequest, "Throttling"
	case "InternalServiceError":
		return http.StatusInternalServerError, "InternalFailure"
	case "ServiceUnavailableException":
		return http.StatusServiceUnavailable, "ServiceUnavailable"
	case "UnknownOperationException":
		return http.StatusBadRequest, "InvalidAction"
	}
	return e.Status, e.Code
}

// metadataProtocol is that of the credential endpoints: JSON or text when all is well, else a status.
type metadataProtocol struct{}

func (metadataProtocol) answer(w http.ResponseWriter, result any) error {
	switch text := result.(type) {
	case string:
		writeBody(w, http.StatusOK, "text/plain", []byte(text))
		return nil
	case metadataText:
		w.Header().Set(tokenTTLHeader, text.ttl)
		writeBody(w, http.StatusOK, "text/plain", []byte(text.text))
		return nil
	}
	body, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	writeBody(w, http.StatusOK, "application/json", body)
	return nil
}

func (metadataProtocol) refuse(w http.ResponseWriter, e *apiError) {
	status := e.Status
	switch e.Code {
	case "ThrottlingException":
		status = http.StatusTooManyRequests
	case "AccessDeniedException":
		status = http.StatusForbidden
	case "UnknownOperationException":
		status = http.StatusNotFound
	}
	body, _ := json.Marshal(map[string]string{"code": e.Code, "message": e.Message}) // strings always encode
	writeBody(w, status, "application/json", body)
}

const requestIDHeader = "X-Amzn-Requestid"

func newRequestID() string { return uuid.NewString() }

func writeBody(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that left is not the server's concern
}
