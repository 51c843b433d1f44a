# credproxy, once in each account and region: a topic for alerts, an alarm for unusual
# denials of secrets, and AWS Config rules for secrets that do not rotate or are not used.

variable "email" {
  description = "Gets the alerts; must be confirmed by a click. Empty: nobody yet."
  type        = string
  default     = ""
}

variable "trail_log_group" {
  description = "Log group that CloudTrail writes management events to, in this account. Empty: EventBridge tells of each denial; else an alarm counts them."
  type        = string
  default     = ""
}

variable "denials_allowed" {
  description = "With trail_log_group: so many denied GetSecretValue calls in five minutes are no alarm yet."
  type        = number
  default     = 5
}

variable "config_rules" {
  description = "Needs a recorder of AWS Config in this region that records secrets: AWS refuses the rules without one."
  type        = bool
  default     = false
}

variable "unused_for_days" {
  type    = number
  default = 90
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  here = "${data.aws_region.this.region}:${data.aws_caller_identity.this.account_id}"
  senders = {
    events     = "arn:${data.aws_partition.this.partition}:events:${local.here}:rule/*"
    cloudwatch = "arn:${data.aws_partition.this.partition}:cloudwatch:${local.here}:alarm:*"
  }
  rules = {
    secrets-rotate    = "SECRETSMANAGER_ROTATION_ENABLED_CHECK"
    rotations-succeed = "SECRETSMANAGER_SCHEDULED_ROTATION_SUCCESS_CHECK"
  }
}

resource "aws_sns_topic" "alerts" {
  name         = "credproxy-alerts"
  display_name = "credproxy"
}

resource "aws_sns_topic_policy" "alerts" {
  arn = aws_sns_topic.alerts.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [for service, source in local.senders : {
      Sid       = service
      Effect    = "Allow"
      Principal = { Service = "${service}.amazonaws.com" }
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.alerts.arn
      Condition = { ArnLike = { "aws:SourceArn" = source } }
    }]
  })
}

resource "aws_sns_topic_subscription" "email" {
  count     = var.email == "" ? 0 : 1
  topic_arn = aws_sns_topic.alerts.arn
  protocol  = "email"
  endpoint  = var.email
}

# GetSecretValue only reads: a rule in state ENABLED is not sent such calls. It needs a trail in the
# region that logs reads of management events, and no log group.
resource "aws_cloudwatch_event_rule" "denials" {
  count       = var.trail_log_group == "" ? 1 : 0
  name        = "credproxy-secret-denials"
  description = "Somebody asks for secrets that they may not read"
  state       = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
  event_pattern = jsonencode({
    source      = ["aws.secretsmanager"]
    detail-type = ["AWS API Call via CloudTrail"]
    detail = {
      eventSource = ["secretsmanager.amazonaws.com"]
      eventName   = ["GetSecretValue", "BatchGetSecretValue"]
      errorCode   = [{ prefix = "AccessDenied" }]
    }
  })
}

resource "aws_cloudwatch_event_target" "denials" {
  count = var.trail_log_group == "" ? 1 : 0
  rule  = aws_cloudwatch_event_rule.denials[0].name
  arn   = aws_sns_topic.alerts.arn
}

# Where the trail's log group is in this account an alarm can count.
resource "aws_cloudwatch_log_metric_filter" "denials" {
  count          = var.trail_log_group == "" ? 0 : 1
  name           = "credproxy-secret-denials"
  log_group_name = var.trail_log_group
  pattern        = "{ ($.eventSource = \"secretsmanager.amazonaws.com\") && ($.errorCode = \"AccessDenied*\") && (($.eventName = \"GetSecretValue\") || ($.eventName = \"BatchGetSecretValue\")) }"

  metric_transformation {
    namespace     = "credproxy"
    name          = "SecretDenials"
    value         = "1"
    default_value = "0"
  }
}

resource "aws_cloudwatch_metric_alarm" "denials" {
  count               = var.trail_log_group == "" ? 0 : 1
  alarm_name          = "credproxy-secret-denials"
  alarm_description   = "Somebody asks for secrets that they may not read. See docs/runbook.md, \"Unusual denials\"."
  namespace           = "credproxy"
  metric_name         = "SecretDenials"
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.denials_allowed
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alerts.arn]
}

resource "aws_config_config_rule" "rotation" {
  for_each = var.config_rules ? local.rules : {}
  name     = "credproxy-${each.key}"

  source {
    owner             = "AWS"
    source_identifier = each.value
  }
}

resource "aws_config_config_rule" "unused" {
  count            = var.config_rules ? 1 : 0
  name             = "credproxy-secrets-are-used"
  input_parameters = jsonencode({ unusedForDays = tostring(var.unused_for_days) })

  source {
    owner             = "AWS"
    source_identifier = "SECRETSMANAGER_SECRET_UNUSED"
  }
}

output "alert_topic_arn" {
  value = aws_sns_topic.alerts.arn
}
