# credproxy, in the account of a secret or database that credproxy of another account uses:
# the role that it takes (assume_role), with the least policy, as "credproxy policy --role"
# prints it.

variable "role_name" {
  description = "The other account names the role before it exists, and so fixes it."
  type        = string
  default     = "credproxy-reader"
}

variable "trusted_role_arn" {
  description = "Role of credproxy in the other account, which must exist. Output of credproxy there."
  type        = string
}

variable "external_id" {
  description = "The same as assume_role.external_id. No secret."
  type        = string
}

variable "secret_arn" {
  type    = string
  default = ""
}

variable "kms_key_arn" {
  description = "The secret's key, if it is your own."
  type        = string
  default     = ""
}

variable "database_user_arn" {
  description = "IAM authentication: such as arn:aws:rds-db:eu-west-1:123456789012:dbuser:cluster-ABC/app"
  type        = string
  default     = ""
}

variable "rotation_queue_arn" {
  description = "Queue in the other account, same region, that is told of the secret's rotations. Output of credproxy there."
  type        = string
  default     = ""
}

data "aws_region" "this" {}

locals {
  tells = var.rotation_queue_arn == "" ? 0 : 1

  policy = concat(
    var.database_user_arn == "" ? [] : [{
      Sid      = "ConnectToDatabases"
      Effect   = "Allow"
      Action   = ["rds-db:connect"]
      Resource = [var.database_user_arn]
    }],
    var.kms_key_arn == "" ? [] : [{
      Sid       = "DecryptSecrets"
      Effect    = "Allow"
      Action    = ["kms:Decrypt"]
      Resource  = [var.kms_key_arn]
      Condition = { StringEquals = { "kms:ViaService" = ["secretsmanager.${data.aws_region.this.region}.amazonaws.com"] } }
    }],
    var.secret_arn == "" ? [] : [{
      Sid      = "ReadSecrets"
      Effect   = "Allow"
      Action   = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
      Resource = [var.secret_arn]
    }],
  )
}

resource "aws_iam_role" "this" {
  name        = var.role_name
  description = "credproxy of another account"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { # a session of EKS Pod Identity has transitive tags, which come along
        Sid       = "TakeItsTags"
        Effect    = "Allow"
        Principal = { AWS = var.trusted_role_arn }
        Action    = ["sts:TagSession"]
      },
      {
        Sid       = "TrustCredproxy"
        Effect    = "Allow"
        Principal = { AWS = var.trusted_role_arn }
        Action    = ["sts:AssumeRole"]
        Condition = { StringEquals = { "sts:ExternalId" = [var.external_id] } }
      },
    ]
  })

  lifecycle {
    precondition {
      condition     = length(local.policy) > 0
      error_message = "One of secret_arn and database_user_arn is needed."
    }
    precondition {
      condition     = var.rotation_queue_arn == "" || var.secret_arn != ""
      error_message = "rotation_queue_arn needs secret_arn."
    }
  }
}

resource "aws_iam_role_policy" "this" {
  name   = "credproxy"
  role   = aws_iam_role.this.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.policy })
}

# A target in another account needs a role of this one, and the queue's own policy.
resource "aws_iam_role" "events" {
  count       = local.tells
  name        = "${var.role_name}-events"
  description = "EventBridge tells credproxy of another account of rotations"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TrustEventBridge"
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = ["sts:AssumeRole"]
    }]
  })
}

resource "aws_iam_role_policy" "events" {
  count = local.tells
  name  = "credproxy"
  role  = aws_iam_role.events[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "SendRotationEvents"
      Effect   = "Allow"
      Action   = ["sqs:SendMessage"]
      Resource = [var.rotation_queue_arn]
    }]
  })
}

resource "aws_cloudwatch_event_rule" "rotations" {
  count       = local.tells
  name        = "${var.role_name}-rotations"
  description = "AWSCURRENT of the secret moves: tell credproxy of the other account"
  event_pattern = jsonencode({
    source      = ["aws.secretsmanager"]
    detail-type = ["Secret Label Updated"]
    resources   = [var.secret_arn]
    detail      = { labelUpdated = ["AWSCURRENT"] }
  })
}

resource "aws_cloudwatch_event_target" "rotations" {
  count      = local.tells
  rule       = aws_cloudwatch_event_rule.rotations[0].name
  arn        = var.rotation_queue_arn
  role_arn   = aws_iam_role.events[0].arn
  depends_on = [aws_iam_role_policy.events]
}

output "role_arn" {
  value = aws_iam_role.this.arn
}
