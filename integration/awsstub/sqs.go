package awsstub

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// sqs is Simple Queue Service over AWS JSON 1.0.
const sqs = "sqs"

const (
	maxReceived = 10 // messages in one answer
	maxLongPoll = 20 * time.Second
	// defaultVisibility is how long a message that was received is hidden, if nobody says otherwise.
	defaultVisibility = 30 * time.Second
	maxVisibility     = 12 * time.Hour
	handlePrefix      = "AQEB" // real receipt handles begin so
)

func sqsOperations() map[string]operation {
	return map[string]operation{
		"ReceiveMessage":     onQueue((*Server).receiveMessage),
		"DeleteMessage":      onQueue((*Server).deleteMessage),
		"DeleteMessageBatch": onQueue((*Server).deleteMessageBatch),
	}
}

// onQueue is an operation on a queue whose request is an In.
func onQueue[In any](run func(*Server, *exchange, *queue, *In) (any, error)) operation {
	return operation{service: sqs, protocol: sqsProtocol{}, run: func(s *Server, x *exchange) (any, error) {
		in := new(In)
		if err := json.Unmarshal(x.body, in); err != nil {
			return nil, refuse("SerializationException", "The request body is not the JSON this operation takes.")
		}
		url := queueURL(x.body)
		if url == "" {
			return nil, refuse("MissingParameter", "The request must contain the parameter QueueUrl.")
		}
		if err := x.caller.allowed(sqs+":"+strings.TrimSuffix(x.call.Operation, "Batch"), s.queueARN(url)); err != nil {
			return nil, err
		}
		q := s.queues.find(queueName(url))
		if q == nil {
			return nil, refuse("QueueDoesNotExist", "The specified queue does not exist.")
		}
		return run(s, x, q, in)
	}}
}

// queueURL is the queue that a request names, "" if it names none.
func queueURL(body []byte) string {
	var named struct {
		URL string `json:"QueueUrl"`
	}
	_ = json.Unmarshal(body, &named) // the operation reads it again, and reports what is wrong with it
	return named.URL
}

// queueName is the queue's name if url is that of a queue of this account. Like SQS it looks at the path alone.
func queueName(url string) string {
	_, name, _ := strings.Cut(url, "/"+AccountID+"/")
	return name
}

func (s *Server) queueARN(url string) string {
	return "arn:aws:sqs:" + s.region + ":" + AccountID + ":" + queueName(url)
}

type receiveRequest struct {
	MaxNumberOfMessages, WaitTimeSeconds, VisibilityTimeout *int
}

type receivedMessage struct {
	MessageID     string `json:"MessageId"`
	ReceiptHandle string
	MD5OfBody     string
	Body          string
}

type receiveAnswer struct {
	Messages []receivedMessage `json:",omitempty"`
}

func (s *Server) receiveMessage(x *exchange, q *queue, in *receiveRequest) (any, error) {
	n, err := inRange("MaxNumberOfMessages", in.MaxNumberOfMessages, 1, 1, maxReceived)
	if err != nil {
		return nil, err
	}
	wait, err := inRange("WaitTimeSeconds", in.WaitTimeSeconds, 0, 0, int(maxLongPoll/time.Second))
	if err != nil {
		return nil, err
	}
	hide, err := inRange("VisibilityTimeout", in.VisibilityTimeout, int(defaultVisibility/time.Second), 0, int(maxVisibility/time.Second))
	if err != nil {
		return nil, err
	}
	deadline := time.NewTimer(time.Duration(wait) * time.Second)
	defer deadline.Stop()
	for {
		got, grown, next := q.receive(n, time.Duration(hide)*time.Second, s.now())
		if len(got) > 0 || wait == 0 {
			return receiveAnswer{got}, nil
		}
		again := time.NewTimer(next)
		select {
		case <-grown:
		case <-again.C:
		case <-deadline.C:
			wait = 0 // one last look
		case <-x.r.Context().Done():
			err = errHung
		case <-s.stop:
			err = errHung
		}
		again.Stop()
		if err != nil {
			return nil, err
		}
	}
}

func inRange(name string, value *int, otherwise, least, most int) (int, error) {
	switch {
	case value == nil:
		return otherwise, nil
	case *value < least || *value > most:
		return 0, refuse("InvalidParameterValue", "Value %d for parameter %s is invalid. Reason: Must be >= %d and <= %d, if provided.", *value, name, least, most)
	}
	return *value, nil
}

type deleteRequest struct{ ReceiptHandle string }

func (s *Server) deleteMessage(_ *exchange, q *queue, in *deleteRequest) (any, error) {
	if err := q.remove(in.ReceiptHandle); err != nil {
		return nil, err
	}
	return struct{}{}, nil
}

type deleteBatchRequest struct {
	Entries []struct{ Id, ReceiptHandle string }
}

type deletedEntry struct{ Id string }

type failedEntry struct {
	Id, Code, Message string
	SenderFault       bool
}

type deleteBatchAnswer struct {
	Successful []deletedEntry
	Failed     []failedEntry
}

func (s *Server) deleteMessageBatch(_ *exchange, q *queue, in *deleteBatchRequest) (any, error) {
	var ids []string
	for _, e := range in.Entries {
		ids = append(ids, e.Id)
	}
	slices.Sort(ids)
	switch {
	case len(ids) == 0:
		return nil, refuse("EmptyBatchRequest", "There should be at least one DeleteMessageBatchRequestEntry in the request.")
	case len(ids) > maxReceived:
		return nil, refuse("TooManyEntriesInBatchRequest", "Maximum number of entries per request are %d. You have sent %d.", maxReceived, len(ids))
	case len(slices.Compact(ids)) != len(in.Entries):
		return nil, refuse("BatchEntryIdsNotDistinct", "An id is repeated.")
	}
	answer := deleteBatchAnswer{Successful: []deletedEntry{}, Failed: []failedEntry{}}
	for _, e := range in.Entries {
		if err := q.remove(e.ReceiptHandle); err != nil {
			answer.Failed = append(answer.Failed, failedEntry{e.Id, err.Code, err.Message, true})
			continue
		}
		answer.Successful = append(answer.Successful, deletedEntry{e.Id})
	}
	return answer, nil
}

// sqsProtocol is AWS JSON 1.0, with the error code of SQS's former protocol in a header, which SDKs go by
// (https://smithy.io/2.0/aws/protocols/aws-query-protocol.html#aws-protocols-awsquerycompatible-trait).
type sqsProtocol struct{}

const sqsContentType = "application/x-amz-json-1.0"

func (sqsProtocol) answer(w http.ResponseWriter, result any) error {
	body, err := json.Marshal(result)
	if err != nil {
		return err
	}
	writeBody(w, http.StatusOK, sqsContentType, body)
	return nil
}

func (sqsProtocol) refuse(w http.ResponseWriter, e *apiError) {
	status, code, queryCode := e.Status, "com.amazonaws.sqs#"+e.Code, e.Code
	switch e.Code {
	case "QueueDoesNotExist":
		queryCode = "AWS.SimpleQueueService.NonExistentQueue"
	case "EmptyBatchRequest", "TooManyEntriesInBatchRequest", "BatchEntryIdsNotDistinct":
		queryCode = "AWS.SimpleQueueService." + e.Code
	case "ReceiptHandleIsInvalid":
		status = http.StatusNotFound
	case "ThrottlingException":
		status, code, queryCode = http.StatusForbidden, "com.amazonaws.sqs#RequestThrottled", "RequestThrottled"
	default: // what all services say
		code = "com.amazon.coral.service#" + e.Code
		if common, translated := sqsCommon[e.Code]; translated {
			queryCode = common
		}
	}
	fault := "Sender"
	if status >= http.StatusInternalServerError {
		fault = "Receiver"
	}
	w.Header().Set("X-Amzn-Query-Error", queryCode+";"+fault)
	body, _ := json.Marshal(map[string]string{"__type": code, "message": e.Message}) // strings always encode
	writeBody(w, status, sqsContentType, body)
}

// sqsCommon translates as queryCode does, but SQS answers with the status of its JSON protocol.
var sqsCommon = map[string]string{
	"AccessDeniedException":       "AccessDenied",
	"ExpiredTokenException":       "ExpiredToken",
	"UnrecognizedClientException": "InvalidClientTokenId",
	"InternalServiceError":        "InternalFailure",
	"ServiceUnavailableException": "ServiceUnavailable",
}

func bodySum(body string) string {
	sum := md5.Sum([]byte(body))
	return hex.EncodeToString(sum[:])
}
